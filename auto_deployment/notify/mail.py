"""Mail over SMTP."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.policy import default
from email.utils import formatdate, make_msgid
from hashlib import sha256
from typing import TYPE_CHECKING

from auto_deployment.notify.channel import NotifyError, TooLongError, within
from auto_deployment.notify.notice import shortened
from auto_deployment.notify.smtp import MailServer, send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from auto_deployment.common.logs import Redactor
    from auto_deployment.notify.notice import Notice

SEND_ERRORS = (TooLongError, OSError, smtplib.SMTPException, ValueError)


class MailChannel:
    """Sends mail over SMTP: TLS where the server offers it, always before a login."""

    name = "mail"

    def __init__(self, server: MailServer, sender: str, recipients: Sequence[str], redact: Redactor) -> None:
        self._server = server
        self._sender = sender
        self._recipients = list(recipients)
        self._redact = redact

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Hands it to the mail server. Raises NotifyError."""
        message = self.message(notice)
        content = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
        return _Delivery(self._server, self._sender, self._recipients, self._redact, content).try_once

    def message(self, notice: Notice) -> EmailMessage:
        """The mail of a notice."""
        notice = notice.masked(self._redact)
        # Not every server takes more than ASCII.
        message = EmailMessage(default.clone(cte_type="7bit"))
        message["Subject"] = notice.subject
        message["From"] = self._sender
        message["To"] = ", ".join(self._recipients)
        message["Date"] = formatdate()
        message["Message-ID"] = _message_id(notice, self._sender)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(notice.text)
        return message


def _message_id(notice: Notice, sender: str) -> str:
    """The same for each copy of a notice with a key, also after a restart, so that a mail program shows one mail."""
    # Without a domain, the machine's own name would be looked up, which may take long.
    domain = sender.rpartition("@")[2]
    if not notice.key:
        return make_msgid(domain=domain)
    digest = sha256("\n".join((notice.key, *notice.whole)).encode(errors="replace")).hexdigest()
    return f"<{digest[:32]}@{domain}>"


class _Delivery:
    """One mail on its way. Each try sends the same message, so that a mail program knows a copy by its Message-ID."""

    def __init__(self, server: MailServer, sender: str, recipients: Sequence[str], redact: Redactor, content: bytes) -> None:
        self._server = server
        self._sender = sender
        self._redact = redact
        self._content = content
        self._waiting = list(recipients)
        self._refused: dict[str, tuple[int, bytes]] = {}
        self._is_taken = False

    def try_once(self) -> None:
        """Send the mail to the recipients that neither have it nor refused it for good. Raises NotifyError if some are left."""
        refused: dict[str, tuple[int, bytes]] = {}
        problem: NotifyError | None = None
        is_sent = False
        try:
            refused = within(self._server.total_seconds, lambda: send(self._server, self._sender, self._waiting, self._content))
            is_sent = self._is_taken = True
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except SEND_ERRORS as error:
            problem = mail_problem(error, self._server, self._redact)
        self._refused |= {address: answer for address, answer in refused.items() if _is_final(answer)}
        tried_again = refused if is_sent else self._waiting
        self._waiting = [each for each in tried_again if each not in self._refused]
        self._report(problem, self._refused | refused)

    def _report(self, problem: NotifyError | None, refused: Mapping[str, tuple[int, bytes]]) -> None:
        """Raise NotifyError if something failed."""
        words = [] if problem is None else [str(problem)]
        if refused:
            words.append(f"refused for {_refusals(refused, self._redact)}")
        if words and self._is_taken:
            words.append("the other recipients got the mail")
        if words:
            is_final = not self._waiting or (problem is not None and problem.permanent)
            raise NotifyError("; ".join(words), permanent=is_final)


def _is_final(answer: tuple[int, bytes]) -> bool:
    return answer[0] >= 500


def is_silence(error: Exception) -> bool:
    """Whether an error means that no answer came in time."""
    if isinstance(error, smtplib.SMTPServerDisconnected):  # it has the time-out in its words alone
        return "timed out" in str(error)
    return isinstance(error, (TimeoutError, TooLongError))


def mail_problem(error: Exception, server: MailServer, redact: Redactor) -> NotifyError:
    """What a mail server's refusal or silence means. Permanent: an answer of 5xx, and what no second try can change."""
    where = f"{server.host}:{server.port}"
    if isinstance(error, TooLongError):
        return error
    if isinstance(error, smtplib.SMTPResponseException):
        answer = _answer(error.smtp_code, error.smtp_error, redact)
        return NotifyError(f"{where} answered {answer}", permanent=error.smtp_code >= 500)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"{where}: its certificate cannot be verified ({error.verify_message}): SSL_CERT_FILE names a CA of your own"
        return NotifyError(text, permanent=True)
    if is_silence(error):
        hint = "" if server.tls_at_once else ": does it expect TLS from the first byte? SMTP_PORT=465 does that"
        return NotifyError(f"{where} gave no answer within {server.step_seconds:g} s{hint}")
    if isinstance(error, ValueError):
        return NotifyError(f"{where}: the mail or the login cannot be sent ({type(error).__name__})", permanent=True)
    words = redact(getattr(error, "strerror", None) or str(error))
    return NotifyError(f"{where}: {words}", permanent=isinstance(error, smtplib.SMTPNotSupportedError))


def _refusals(refused: Mapping[str, tuple[int, bytes]], redact: Redactor) -> str:
    return ", ".join(f"{address} ({_answer(*answer, redact)})" for address, answer in refused.items())


def _answer(code: int, words: bytes | str, redact: Redactor) -> str:
    return f"{code} {shortened(redact(words.decode(errors='replace') if isinstance(words, bytes) else words), 120)}"
