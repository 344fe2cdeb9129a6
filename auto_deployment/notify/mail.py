"""Mail over SMTP."""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING

from auto_deployment.notify.channel import STEP_SECONDS, TOTAL_SECONDS, NotifyError, within
from auto_deployment.notify.notice import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auto_deployment.logs import Redactor
    from auto_deployment.notify.notice import Notice


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed over. `trusted`: nobody is between us and it, so that it may do without TLS that can be verified."""

    host: str
    port: int = 587
    user: str | None = None
    password: str | None = None
    trusted: bool = False
    tls_at_once: bool = False
    step_seconds: float = STEP_SECONDS
    total_seconds: float = TOTAL_SECONDS


class MailChannel:
    """Sends mail over SMTP: TLS where the server offers it, always before a login."""

    name = "mail"

    def __init__(self, server: MailServer, sender: str, recipients: Sequence[str], redact: Redactor) -> None:
        self._server = server
        self._sender = sender
        self._recipients = list(recipients)
        self._redact = redact

    def send(self, notice: Notice) -> None:
        """Hand it to the mail server. Raises NotifyError."""
        message = self.message(notice)
        within(self._server.total_seconds, lambda: self._hand_over(message))

    def message(self, notice: Notice) -> EmailMessage:
        """The mail of a notice."""
        notice = notice.masked(self._redact)
        # Not every server takes more than ASCII.
        message = EmailMessage(default.clone(cte_type="7bit"))
        message["Subject"] = notice.subject
        message["From"] = self._sender
        message["To"] = ", ".join(self._recipients)
        message["Date"] = formatdate()
        # Without a domain, the machine's own name would be looked up, which may take long.
        message["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(notice.text)
        return message

    def _hand_over(self, message: EmailMessage) -> None:
        try:
            refused = self._talk(message)
        except (OSError, smtplib.SMTPException, MessageError, ValueError) as error:
            raise mail_problem(error, self._server, self._redact) from None
        if refused:
            # The others have it already.
            raise NotifyError(f"refused for {_refusals(refused, self._redact)}; the others were told", permanent=True)

    def _talk(self, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
        client = self._connect()
        try:
            self._secure(client)
            if self._server.user and self._server.password:
                client.login(self._server.user, self._server.password)
            refused = client.send_message(message, self._sender, self._recipients)
            # It has been taken: an error from here on must not have it sent again.
            with suppress(OSError, smtplib.SMTPException):
                client.quit()
            return refused
        finally:
            client.close()

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
        elif self._server.user and not self._server.trusted and not isinstance(client, smtplib.SMTP_SSL):
            raise smtplib.SMTPNotSupportedError("it offers no STARTTLS, and a password is not sent in clear")

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._server.trusted:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def mail_problem(error: Exception, server: MailServer, redact: Redactor) -> NotifyError:
    """What a mail server's refusal or silence means. Permanent: an answer of 5xx, and what no second try can change."""
    where = f"{server.host}:{server.port}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return NotifyError(f"{where} refused {_refusals(error.recipients, redact)}", permanent=min(codes) >= 500)
    if isinstance(error, smtplib.SMTPResponseException):
        answer = _answer(error.smtp_code, error.smtp_error, redact)
        return NotifyError(f"{where} answered {answer}", permanent=error.smtp_code >= 500)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"{where}: its certificate cannot be verified ({error.verify_message}): SSL_CERT_FILE names a CA of your own"
        return NotifyError(text, permanent=True)
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return NotifyError(f"{where} gave no answer within {server.step_seconds:g} s")
    if isinstance(error, ValueError):
        return NotifyError(f"{where}: the mail or the login cannot be sent ({type(error).__name__})", permanent=True)
    words = redact(getattr(error, "strerror", None) or str(error))
    return NotifyError(f"{where}: {words}", permanent=isinstance(error, smtplib.SMTPNotSupportedError))


def _refusals(refused: Mapping[str, tuple[int, bytes]], redact: Redactor) -> str:
    return ", ".join(f"{address} ({_answer(*answer, redact)})" for address, answer in refused.items())


def _answer(code: int, words: bytes | str, redact: Redactor) -> str:
    return f"{code} {shortened(redact(words.decode(errors='replace') if isinstance(words, bytes) else words), 120)}"
