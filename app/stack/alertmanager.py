"""Alertmanager's configuration from the settings of mail and Slack, which the host side also uses.

A channel without settings is off. With both channels off, Alertmanager still starts, and shows alerts on its page only.
`python -m app.stack.alertmanager FOLDER` writes it from the environment, for a pod of a cluster.
"""

from __future__ import annotations

import json
import os
import re
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIGURATION, SMTP_PASSWORD, SLACK_URL = "alertmanager.yml", "smtp_password", "slack_webhook_url"
FOLDER = "/etc/alertmanager"
# The host's name inside a container. docker-compose.yml sets it for Alertmanager.
THIS_MACHINE = "host.docker.internal"
SUBMISSION_PORTS = frozenset({465, 587})
_WEBHOOK = re.compile(r"https?://[!-~]+")
_NAMED = re.compile(r"[^<>]*<([^<>]*)>")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`|~-]+@[A-Za-z0-9.-]+", re.ASCII)

SUBJECT = (
    'movierec: {{ if eq .Status "resolved" }}over: {{ end }}'
    "{{ with .CommonAnnotations.summary }}{{ . }}{{ else }}{{ .CommonLabels.alertname }}, {{ len .Alerts }} times{{ end }}"
)
TEXT = (
    "{{ range .Alerts.Firing }}{{ .Annotations.summary }} ({{ .Labels.severity }})\n"
    "{{ .Annotations.description }}\n"
    "What to do: {{ .Annotations.action }}\n"
    'Since {{ .StartsAt.UTC.Format "2006-01-02T15:04:05Z" }}, {{ .Labels.alertname }}\n\n{{ end }}'
    "{{ range .Alerts.Resolved }}Over: {{ .Annotations.summary }}\n"
    'From {{ .StartsAt.UTC.Format "2006-01-02T15:04:05Z" }} to {{ .EndsAt.UTC.Format "2006-01-02T15:04:05Z" }}, '
    "{{ .Labels.alertname }}\n\n{{ end }}"
)


class AlertingError(Exception):
    """A setting is missing or unusable; the text begins with its name."""


def files(environment: Mapping[str, str], folder: str = FOLDER) -> dict[str, str]:
    """The files of Alertmanager's folder by name: its configuration and its secrets. Raises AlertingError."""
    secrets = {SMTP_PASSWORD: environment.get("SMTP_PASSWORD", ""), SLACK_URL: environment.get("SLACK_WEBHOOK_URL", "")}
    return {CONFIGURATION: render(environment, folder), **{name: secret for name, secret in secrets.items() if secret}}


def render(environment: Mapping[str, str], folder: str = FOLDER) -> str:
    """Alertmanager's configuration as JSON, which is also YAML. `folder` has its secrets. Raises AlertingError."""
    receiver: dict[str, Any] = {"name": "people"}
    if mail := _mail(environment, folder):
        receiver["email_configs"] = [mail]
    if slack := _slack(environment, folder):
        receiver["slack_configs"] = [slack]
    return json.dumps({"route": _route(), "inhibit_rules": _inhibitions(), "receivers": [receiver]}, indent=2) + "\n"


def channels(environment: Mapping[str, str]) -> list[str]:
    """The names of the channels that are on."""
    return [name for name, setting in (("mail", "SMTP_HOST"), ("Slack", "SLACK_WEBHOOK_URL")) if environment.get(setting)]


def _route() -> dict[str, Any]:
    """An alert is sent once, and again when it ends. Alertmanager remembers sent alerts for 60 days (--data.retention)."""
    return {
        "receiver": "people",
        "group_by": ["alertname", "service"],
        "group_wait": "15s",
        "group_interval": "1m",
        "repeat_interval": "30d",
    }


def _inhibitions() -> list[dict[str, Any]]:
    """A service that is down gets no second alert for its failures."""
    down = 'alertname=~"ServiceDown|CanaryDown"'
    return [{"source_matchers": [down], "target_matchers": ['severity="warning"'], "equal": ["service"]}]


def _mail(environment: Mapping[str, str], folder: str) -> dict[str, Any] | None:
    host, user = environment.get("SMTP_HOST"), environment.get("SMTP_USER")
    if not host:
        return None
    sender, recipients = _addresses(environment, "MAIL_FROM"), _addresses(environment, "MAIL_TO")
    port = _port(environment.get("SMTP_PORT") or "587")
    here = _is_this_machine(host)
    if bool(user) != bool(environment.get("SMTP_PASSWORD")):
        raise AlertingError(f"{'SMTP_PASSWORD' if user else 'SMTP_USER'}: not set, but the other is: set both, or neither")
    login = {"auth_username": user, "auth_password_file": f"{folder}/{SMTP_PASSWORD}"} if user else {}
    return {
        "send_resolved": True,
        "to": recipients,
        "from": sender,
        "smarthost": f"{THIS_MACHINE if here else f'[{host}]' if ':' in host else host}:{port}",
        # Alertmanager cannot use TLS "if offered". So TLS is required with a login, and on the ports for mail submission.
        "require_tls": bool(user) or (port in SUBMISSION_PORTS and not here),
        **({"tls_config": {"insecure_skip_verify": True}} if here else {}),
        **login,
        "headers": {"Subject": SUBJECT, "Auto-Submitted": "auto-generated"},
        "text": TEXT,
        "html": "",
    }


def _slack(environment: Mapping[str, str], folder: str) -> dict[str, Any] | None:
    url = environment.get("SLACK_WEBHOOK_URL")
    if not url:
        return None
    if not _WEBHOOK.fullmatch(url):
        raise AlertingError("SLACK_WEBHOOK_URL: not a URL: it must begin with https:// (or http://) and a host")
    colour = '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}'
    return {
        "send_resolved": True,
        "api_url_file": f"{folder}/{SLACK_URL}",
        "title": SUBJECT,
        "title_link": "",
        "fallback": SUBJECT,
        "text": TEXT,
        "color": colour,
    }


def _addresses(environment: Mapping[str, str], name: str) -> str:
    addresses = environment.get(name)
    if not addresses:
        raise AlertingError(f"{name}: not set, but SMTP_HOST is: set both, or neither")
    found = [_NAMED.sub(r"\1", part.strip()) for part in addresses.split(",")]
    if not all(map(_ADDRESS.fullmatch, found)):
        raise AlertingError(f"{name}: {addresses!r} is not a mail address or several, separated by commas")
    return ", ".join(found)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise AlertingError(f"SMTP_PORT: {text!r} is no port")
    return int(text)


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0, or 2 for an unusable setting or wrong use."""
    if len(arguments) != 1:
        sys.stderr.write("use: python -m app.stack.alertmanager FOLDER, with settings from the environment\n")
        return 2
    try:
        made = files(os.environ)
    except AlertingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for name, content in made.items():
        (Path(arguments[0]) / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
