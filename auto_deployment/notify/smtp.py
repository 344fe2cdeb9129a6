"""One SMTP session."""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auto_deployment.notify.channel import STEP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

# A server may look through the whole message before it answers: RFC 5321 (4.5.3.2.6) would have it given ten minutes.
REPLY_SECONDS = 60.0
TOTAL_SECONDS = 90.0


@dataclass(frozen=True)
class MailServer:
    """The mail server. `trusted`: the server is this machine: a login needs no TLS, and no certificate is verified.

    Limits in seconds: of each step, of the answer to a whole message, and of a try in all.
    """

    host: str
    port: int = 587
    user: str | None = None
    password: str | None = None
    trusted: bool = False
    tls_at_once: bool = False
    step_seconds: float = STEP_SECONDS
    reply_seconds: float = REPLY_SECONDS
    total_seconds: float = TOTAL_SECONDS


def send(server: MailServer, sender: str, recipients: Sequence[str], content: bytes) -> dict[str, tuple[int, bytes]]:
    """Send one message; the result has the server's answer for each recipient that the server refused.

    Raises OSError and smtplib's errors, SMTPRecipientsRefused when the server refused every recipient.
    """
    client = _connect(server)
    try:
        _secure(client, server)
        if server.user and server.password:
            client.login(server.user, server.password)
        if client.sock is not None:
            client.sock.settimeout(server.reply_seconds)
        refused = client.sendmail(sender, recipients, content)
        # The server has the message: an error from here on must not cause another try.
        with suppress(OSError, smtplib.SMTPException):
            client.quit()
        return refused
    finally:
        client.close()


def _connect(server: MailServer) -> smtplib.SMTP:
    name = socket.gethostname()
    # smtplib would look up the machine's own name, with no limit to the time.
    own_name = name if "." in name else "[127.0.0.1]"
    if server.tls_at_once:
        return smtplib.SMTP_SSL(server.host, server.port, own_name, timeout=server.step_seconds, context=_context(server))
    return smtplib.SMTP(server.host, server.port, own_name, timeout=server.step_seconds)


def _secure(client: smtplib.SMTP, server: MailServer) -> None:
    client.ehlo_or_helo_if_needed()
    if client.has_extn("starttls"):
        client.starttls(context=_context(server))
        client.ehlo_or_helo_if_needed()
    elif server.user and not server.trusted and not isinstance(client, smtplib.SMTP_SSL):
        raise smtplib.SMTPNotSupportedError("it offers no STARTTLS, and a password is not sent in clear")


def _context(server: MailServer) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if server.trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
