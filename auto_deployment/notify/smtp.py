"""One SMTP session, step by step, and what is known of the message where the session breaks off."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auto_deployment.notify.channel import STEP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

# A server may look through the whole message before it answers: RFC 5321 (4.5.3.2.6) would have it given ten minutes.
REPLY_SECONDS = 60.0
TOTAL_SECONDS = 90.0
_DOT = re.compile(rb"^\.", re.MULTILINE)


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


class LeftBehindError(Exception):
    """The try was abandoned: the session ends before the whole message is sent."""


class Talk:
    """Sends one message. `refused`: the server's answers about recipients that it did not accept."""

    def __init__(self, server: MailServer, sender: str, recipients: Sequence[str], content: bytes) -> None:
        self.refused: dict[str, tuple[int, bytes]] = {}
        self._server = server
        self._sender = sender
        self._recipients = recipients
        self._content = content
        self._lock = threading.Lock()
        self._is_left = self._is_whole = False

    def run(self) -> None:
        """Send the message. Raises OSError and smtplib's errors, and LeftBehindError after `leave`."""
        client = self._connect()
        try:
            self._secure(client)
            if self._server.user and self._server.password:
                client.login(self._server.user, self._server.password)
            self._address(client)
            self._deliver(client)
            # It has been taken: an error from here on must not have it sent again.
            with suppress(OSError, smtplib.SMTPException):
                client.quit()
        finally:
            client.close()

    def leave(self) -> bool:
        """Stop the session at its next step; whether the server may have the whole message already."""
        with self._lock:
            self._is_left = True
            return self._is_whole

    def _connect(self) -> smtplib.SMTP:
        server, name = self._server, socket.gethostname()
        # smtplib would look up the machine's own name, with no limit to the time.
        own_name = name if "." in name else "[127.0.0.1]"
        if server.tls_at_once:
            return smtplib.SMTP_SSL(server.host, server.port, own_name, timeout=server.step_seconds, context=self._context())
        return smtplib.SMTP(server.host, server.port, own_name, timeout=server.step_seconds)

    def _secure(self, client: smtplib.SMTP) -> None:
        client.ehlo_or_helo_if_needed()
        if client.has_extn("starttls"):
            client.starttls(context=self._context())
            client.ehlo_or_helo_if_needed()
        elif self._server.user and not self._server.trusted and not isinstance(client, smtplib.SMTP_SSL):
            raise smtplib.SMTPNotSupportedError("it offers no STARTTLS, and a password is not sent in clear")

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._server.trusted:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _address(self, client: smtplib.SMTP) -> None:
        code, words = client.mail(self._sender)
        if code != 250:
            raise smtplib.SMTPSenderRefused(code, words, self._sender)
        for each in self._recipients:
            code, words = client.rcpt(each)
            if code not in {250, 251}:
                self.refused[each] = (code, words)
            if code == 421:  # it hangs up
                raise smtplib.SMTPRecipientsRefused(self.refused)
        if len(self.refused) == len(self._recipients):
            raise smtplib.SMTPRecipientsRefused(self.refused)

    def _deliver(self, client: smtplib.SMTP) -> None:
        code, words = client.docmd("DATA")
        if code != 354:
            raise smtplib.SMTPDataError(code, words)
        client.send(_DOT.sub(b"..", self._content))
        self._make_whole(client)
        client.send(b".\r\n")
        code, words = client.getreply()
        if code != 250:
            raise smtplib.SMTPDataError(code, words)

    def _make_whole(self, client: smtplib.SMTP) -> None:
        """From here on the server may take the message, whatever becomes of the talk."""
        with self._lock:
            if self._is_left:
                raise LeftBehindError
            self._is_whole = True
        if client.sock is not None:
            client.sock.settimeout(self._server.reply_seconds)
