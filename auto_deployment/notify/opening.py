"""Opens the channels that have settings."""

from __future__ import annotations

import logging
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.logs import Redactor, secrets_of
from auto_deployment.notify.mail import MailChannel
from auto_deployment.notify.slack import SlackChannel
from auto_deployment.notify.smtp import MailServer

if TYPE_CHECKING:
    from auto_deployment.common.settings import NotifySettings
    from auto_deployment.notify.channel import Channel

log = logging.getLogger(__name__)

TLS_PORT = 465
MAIL_SETTINGS = ("smtp_user", "smtp_password", "mail_from", "mail_to")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9.-]+", re.ASCII)
_NAMED = re.compile(r"[^<>]*<([^<>]*)>")
_WEBHOOK = re.compile(r"https?://[!-.0-~]+(/[!-~]*)?")


def open_channels(settings: NotifySettings) -> list[Channel]:
    """The channels that have settings; those without say so. Raises WrongUseError naming a setting that is missing or bad."""
    redact = Redactor(secrets_of(settings))
    return [channel for channel in (_mail(settings, redact), _slack(settings, redact)) if channel]


def _mail(settings: NotifySettings, redact: Redactor) -> MailChannel | None:
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


def _login_pairs(settings: NotifySettings) -> list[tuple[str, str]]:
    """Pairs of user and password settings: each with the one that it needs."""
    pairs = []
    if settings.smtp_user:
        pairs.append(("SMTP_PASSWORD", "SMTP_USER"))
    if settings.smtp_password:
        pairs.append(("SMTP_USER", "SMTP_PASSWORD"))
    return pairs


def _server(settings: NotifySettings) -> MailServer:
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
        raise WrongUseError(f"{name}: {text!r} is not a mail address or several, separated by commas")
    return found


def _slack(settings: NotifySettings, redact: Redactor) -> SlackChannel | None:
    if not settings.slack_webhook_url:
        log.info("Slack is off: SLACK_WEBHOOK_URL is not set")
        return None
    url = settings.slack_webhook_url.get_secret_value()
    if not _WEBHOOK.fullmatch(url):
        raise WrongUseError("SLACK_WEBHOOK_URL: not a URL: it must begin with https:// (or http://) and a host")
    return SlackChannel(url, redact)
