"""Mail and Slack behind one small interface: what a run tells people, as plain text that is read on a phone.

Telling is never a reason for a run to fail: `tell` returns what went wrong.
"""

from __future__ import annotations

import logging
import re
import smtplib
import socket
import ssl
import textwrap
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from email.utils import formatdate, make_msgid
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

import requests

from auto_deployment.errors import WrongUseError
from auto_deployment.logs import Redactor, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from auto_deployment.settings import Settings

log = logging.getLogger(__name__)

WIDTH = 77
PAUSES = (2.0, 10.0)
STEP_SECONDS = 10.0
TOTAL_SECONDS = 30.0
TLS_PORT = 465
MAIL_SETTINGS = ("smtp_user", "smtp_password", "mail_from", "mail_to")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9.-]+", re.ASCII)
_NAMED = re.compile(r"[^<>]*<([^<>]*)>")
_WEBHOOK = re.compile(r"https?://[!-.0-~]+(/[!-~]*)?")
_WEBHOOK_ERROR = re.compile(rb"[a-z_ ]{1,60}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class NotifyError(Exception):
    """A channel did not take a notice; `permanent` where the same again would end the same way."""

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


@dataclass(frozen=True)
class Notice:
    """A subject and a text of short lines. Whatever they are made from, neither holds a control character."""

    subject: str
    text: str
    # As given: a secret that was cut or wrapped can no longer be found.
    whole: tuple[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", (self.subject, self.text))
        object.__setattr__(self, "subject", _short(self.subject, WIDTH))
        object.__setattr__(self, "text", "\n".join(each for line in self.text.split("\n") for each in _wrapped(line)))

    def masked(self, redact: Redactor) -> Notice:
        """The same without secrets."""
        return Notice(*map(redact, self.whole))


def _short(text: str, length: int) -> str:
    """One line of at most `length` printable characters."""
    text = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return text if len(text) <= length else text[: length - 4] + " ..."


def _wrapped(line: str) -> list[str]:
    line = _UNPRINTABLE.sub(" ", line).rstrip()
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent[:20], break_on_hyphens=False)


class Channel(Protocol):
    """A way to tell people something."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        ...

    def send(self, notice: Notice) -> None:
        """Tell it. Comes back within a limit; raises NotifyError."""
        ...


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
    return f"{code} {_short(redact(words.decode(errors='replace') if isinstance(words, bytes) else words), 120)}"


class SlackChannel:
    """Posts to an incoming webhook, whose URL is a secret."""

    name = "Slack"

    def __init__(
        self, url: str, redact: Redactor, step_seconds: float = STEP_SECONDS, total_seconds: float = TOTAL_SECONDS
    ) -> None:
        self._url = url
        self._redact = redact
        self._step_seconds = step_seconds
        self._total_seconds = total_seconds

    def send(self, notice: Notice) -> None:
        """Post it. Raises NotifyError."""
        notice = notice.masked(self._redact)
        text = f"*{notice.subject}*\n{notice.text}"
        for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, escaped)
        within(self._total_seconds, lambda: self._post(text))

    def _post(self, text: str) -> None:
        try:
            with requests.post(
                self._url, json={"text": text}, timeout=self._step_seconds, allow_redirects=False, stream=True
            ) as answer:
                self._judge(answer)
        except (OSError, ValueError) as error:
            # Its own words hold the URL.
            raise self._problem(error) from None

    def _judge(self, answer: requests.Response) -> None:
        if 200 <= answer.status_code < 300:
            return
        words = b""
        with suppress(OSError):
            words = next(answer.iter_content(500), b"")
        # Slack's errors are words such as invalid_token; whatever else answers might repeat the URL.
        told = self._redact(f" {words.decode()}") if _WEBHOOK_ERROR.fullmatch(words) else ""
        raise NotifyError(f"the webhook answered {answer.status_code}{told}", permanent=_is_final(answer.status_code))

    def _problem(self, error: Exception) -> NotifyError:
        if isinstance(error, requests.Timeout):
            return NotifyError(f"the webhook gave no answer within {self._step_seconds:g} s")
        return NotifyError(f"the webhook cannot be reached ({type(error).__name__})", permanent=isinstance(error, ValueError))


def _is_final(status: int) -> bool:
    return status < 500 and status not in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def within(seconds: float, action: Callable[[], object]) -> None:
    """Do `action`, but wait no longer for it than that: a limit to each step is none to a server that drips its answer.

    Raises what `action` raises, and NotifyError when it takes too long; its thread is left behind then.
    """
    done: Future[None] = Future()

    def work() -> None:
        try:
            action()
            done.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it is raised by whoever waits
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        problem = done.exception(seconds)
    except TimeoutError:
        raise NotifyError(f"not done after {seconds:g} s in all") from None
    if problem:
        raise problem


def open_channels(settings: Settings) -> list[Channel]:
    """The channels that have settings; those without say so. Raises WrongUseError naming a setting that is missing or bad."""
    redact = Redactor(secrets_of(settings))
    return [channel for channel in (_mail(settings, redact), _slack(settings, redact)) if channel]


def _mail(settings: Settings, redact: Redactor) -> MailChannel | None:
    given = [name.upper() for name in MAIL_SETTINGS if getattr(settings, name)]
    if not settings.smtp_host:
        if given:
            raise WrongUseError(f"SMTP_HOST: not set, though {given[0]} is: set both, or neither")
        log.info("mail is off: SMTP_HOST is not set")
        return None
    for name, because in (("MAIL_FROM", "SMTP_HOST"), ("MAIL_TO", "SMTP_HOST"), *_login_pairs(settings)):
        if name not in given:
            raise WrongUseError(f"{name}: not set, though {because} is: set both, or neither")
    senders = _addresses("MAIL_FROM", settings.mail_from)
    if len(senders) > 1:
        raise WrongUseError("MAIL_FROM: more than one address")
    return MailChannel(_server(settings), senders[0], _addresses("MAIL_TO", settings.mail_to), redact)


def _login_pairs(settings: Settings) -> list[tuple[str, str]]:
    """Which of user and password is needed, and because of which."""
    pairs = []
    if settings.smtp_user:
        pairs.append(("SMTP_PASSWORD", "SMTP_USER"))
    if settings.smtp_password:
        pairs.append(("SMTP_USER", "SMTP_PASSWORD"))
    return pairs


def _server(settings: Settings) -> MailServer:
    host = settings.smtp_host or ""
    return MailServer(
        host,
        settings.smtp_port,
        settings.smtp_user,
        settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        trusted=_is_this_machine(host),
        tls_at_once=settings.smtp_port == TLS_PORT,
    )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _addresses(name: str, text: str | None) -> list[str]:
    found = [_NAMED.sub(r"\1", part.strip()) for part in (text or "").split(",")]
    if not all(map(_ADDRESS.fullmatch, found)):
        raise WrongUseError(f"{name}: {text!r} is no mail address, nor several separated by commas")
    return found


def _slack(settings: Settings, redact: Redactor) -> SlackChannel | None:
    if not settings.slack_webhook_url:
        log.info("Slack is off: SLACK_WEBHOOK_URL is not set")
        return None
    url = settings.slack_webhook_url.get_secret_value()
    if not _WEBHOOK.fullmatch(url):
        raise WrongUseError("SLACK_WEBHOOK_URL: not a URL that begins with https:// (or http://) and a host")
    return SlackChannel(url, redact)


def tell(notice: Notice, channels: Sequence[Channel], sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Tell it by each channel, three times where need be; what could not be told, and why. Never raises."""
    failures = []
    for channel in channels:
        if problem := _problem_of(notice, channel, sleep):
            log.error("%s was not told (%s): %s", channel.name, problem, notice.whole[0])
            failures.append(f"{channel.name}: {problem}")
    return failures


def _problem_of(notice: Notice, channel: Channel, sleep: Callable[[float], None]) -> str:
    problem = ""
    for pause in (0.0, *PAUSES):
        if pause:
            sleep(pause)
        try:
            channel.send(notice)
        except NotifyError as error:
            problem = str(error)
            if error.permanent:
                return problem
            log.warning("%s: %s", channel.name, problem)
        except Exception as error:
            log.exception("%s failed in a way of its own", channel.name)
            return type(error).__name__
        else:
            log.info("%s was told: %s", channel.name, notice.whole[0])
            return ""
    return f"{problem} ({1 + len(PAUSES)} tries)"


def released(version: int, rmse: float, rows: int, details: Sequence[str] = ()) -> Notice:
    """A version was released to git; `rows` ratings trained it."""
    figures = _figures({"version": version, "RMSE": rmse, "ratings": rows})
    return Notice(f"movierec: version {version} released, RMSE {rmse:.3f}", _text(figures, details))


def refused(reasons: Sequence[str], figures: Mapping[str, float | str], limit: float | str) -> Notice:
    """The data check or the gate said no to these figures, by name; `limit` is what they were held against."""
    after = ["Nothing was released: the version in service stays.", "The new rows are kept for the next run."]
    text = _text(_figures({**figures, "limit": limit}), [f"- {reason}" for reason in reasons], after)
    return Notice(f"movierec: refused: {'; '.join(reasons)}", text)


def failed(step: str, reason: str, what_to_do: str) -> Notice:
    """A run ended at `step`, unfinished."""
    return Notice(f"movierec: failed at {step}: {reason}", _text([f"step: {step}", f"reason: {reason}"], [what_to_do]))


def nothing_new() -> Notice:
    """A run found nothing to train on that the last version did not have."""
    after = "The stream brought no new ratings or watches since the last version, which stays in service."
    return Notice("movierec: nothing new, no version made", _text(["0 new rows"], [after]))


def lag_alarm(now: int, before: int) -> Notice:
    """The lag, in messages, has grown over two runs."""
    figures = _figures({"lag now": now, "lag before": before, "grown by": now - before})
    what_to_do = [
        "Collection falls behind the stream, and retention may remove lines unread.",
        "Raise COLLECT_MINUTES, or lower COLLECT_EVERY_HOURS.",
    ]
    return Notice(f"movierec: lag grows: {now:,} messages", _text(figures, what_to_do))


def _figures(figures: Mapping[str, float | str]) -> list[str]:
    width = max(map(len, figures)) + 2
    return [f"{name:<{width}}{_number(value)}" for name, value in figures.items()]


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _text(*parts: Sequence[str]) -> str:
    """Parts of lines with an empty line between them."""
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"
