from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app.stack.alertmanager import AlertingError, channels, files, main, render

if TYPE_CHECKING:
    from pathlib import Path

MAIL = {"SMTP_HOST": "mail.example.org", "MAIL_FROM": "bot@example.org", "MAIL_TO": "ann@example.org"}
LOGIN = {"SMTP_USER": "bot", "SMTP_PASSWORD": "hunter2"}
SLACK = {"SLACK_WEBHOOK_URL": "https://hooks.example.org/services/T0/B0/zyxwv"}


def receiver(environment: dict[str, str]) -> dict[str, Any]:
    """The one receiver that everything goes to."""
    configuration = json.loads(render(environment))
    (found,) = configuration["receivers"]
    assert found["name"] == configuration["route"]["receiver"]
    return dict(found)


def mail(**settings: str) -> dict[str, Any]:
    """The mail part."""
    (found,) = receiver({**MAIL, **settings})["email_configs"]
    return dict(found)


@pytest.mark.parametrize("environment", [{}, {"SMTP_HOST": "", "SLACK_WEBHOOK_URL": "", "MAIL_TO": "ann@example.org"}])
def test_without_settings_a_channel_is_off(environment: dict[str, str]) -> None:
    """An empty value is none. The configuration is whole all the same, so that Alertmanager starts."""
    assert set(receiver(environment)) == {"name"}
    assert channels(environment) == []
    assert set(files(environment)) == {"alertmanager.yml"}


def test_each_channel_is_on_by_its_own_settings() -> None:
    """One, the other or both."""
    assert set(receiver(MAIL)) == {"name", "email_configs"}
    assert set(receiver(SLACK)) == {"name", "slack_configs"}
    assert set(receiver({**MAIL, **SLACK})) == {"name", "email_configs", "slack_configs"}
    assert [channels(each) for each in (MAIL, SLACK, {**MAIL, **SLACK})] == [["mail"], ["Slack"], ["mail", "Slack"]]


def test_an_end_is_reported_too() -> None:
    """By both channels."""
    both = receiver({**MAIL, **SLACK})
    assert both["email_configs"][0]["send_resolved"] is True
    assert both["slack_configs"][0]["send_resolved"] is True


def test_secrets_are_files_and_stand_nowhere_else() -> None:
    """The configuration names them by their path."""
    made = files({**MAIL, **LOGIN, **SLACK}, "/etc/alertmanager")
    assert made["smtp_password"] == LOGIN["SMTP_PASSWORD"]
    assert made["slack_webhook_url"] == SLACK["SLACK_WEBHOOK_URL"]
    configuration = made["alertmanager.yml"]
    assert "hunter2" not in configuration
    assert "zyxwv" not in configuration
    assert '"/etc/alertmanager/smtp_password"' in configuration
    assert '"/etc/alertmanager/slack_webhook_url"' in configuration


@pytest.mark.parametrize(
    ("settings", "smarthost", "tls"),
    [
        ({}, "mail.example.org:587", True),
        ({"SMTP_PORT": "465"}, "mail.example.org:465", True),
        ({"SMTP_PORT": "25"}, "mail.example.org:25", False),
        ({"SMTP_PORT": "25", **LOGIN}, "mail.example.org:25", True),
        ({"SMTP_HOST": "2001:db8::1"}, "[2001:db8::1]:587", True),
        ({"SMTP_HOST": "localhost"}, "host.docker.internal:587", False),
        ({"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "25"}, "host.docker.internal:25", False),
        ({"SMTP_HOST": "::1", **LOGIN}, "host.docker.internal:587", True),
    ],
)
def test_mail_is_handed_over_with_tls_where_that_matters(settings: dict[str, str], smarthost: str, tls: bool) -> None:  # noqa: FBT001 - a table
    """Always with a login or on a port of submission. This machine has another name in a container, and no certificate."""
    made = mail(**settings)
    assert (made["smarthost"], made["require_tls"]) == (smarthost, tls)
    assert ("tls_config" in made) == smarthost.startswith("host.docker.internal")


def test_addresses_are_several_and_may_have_names() -> None:
    """As the host side takes them."""
    assert mail(MAIL_TO="Ann <ann@example.org>, bea@example.org")["to"] == "ann@example.org, bea@example.org"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"MAIL_FROM": ""}, "MAIL_FROM"),
        ({"MAIL_TO": ""}, "MAIL_TO"),
        ({"MAIL_TO": "ann"}, "MAIL_TO"),
        ({"MAIL_TO": "{{ .x }}@example.org"}, "MAIL_TO"),
        ({"MAIL_FROM": "a@example.org\nBcc: x@example.org"}, "MAIL_FROM"),
        ({"SMTP_USER": "bot"}, "SMTP_PASSWORD"),
        ({"SMTP_PASSWORD": "hunter2"}, "SMTP_USER"),
        ({"SMTP_PORT": "smtp"}, "SMTP_PORT"),
        ({"SMTP_PORT": "0"}, "SMTP_PORT"),
        ({"SMTP_PORT": "65536"}, "SMTP_PORT"),
        ({"SLACK_WEBHOOK_URL": "hooks.example.org"}, "SLACK_WEBHOOK_URL"),
        ({"SLACK_WEBHOOK_URL": "https://"}, "SLACK_WEBHOOK_URL"),
    ],
)
def test_what_is_missing_or_bad_stops_the_start_with_its_name(settings: dict[str, str], name: str) -> None:
    """And never shows a secret."""
    with pytest.raises(AlertingError, match=rf"^{name}: ") as raised:
        files({**MAIL, **settings})
    assert "hunter2" not in str(raised.value)


def test_an_alert_is_reported_once() -> None:
    """It is not repeated for a month, and grouped so that one service's mail does not hold another one's."""
    route = json.loads(render(MAIL))["route"]
    assert route["repeat_interval"] == "30d"
    assert route["group_by"] == ["alertname", "service"]


def test_a_pod_writes_the_files_from_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unusable setting, or no folder, is one line and status 2."""
    for name, value in {**MAIL, **LOGIN}.items():
        monkeypatch.setenv(name, value)
    assert main([str(tmp_path)]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files({**MAIL, **LOGIN})
    monkeypatch.delenv("MAIL_TO")
    assert (main([str(tmp_path)]), capsys.readouterr().err.count("\n")) == (2, 1)
    assert (main([]), capsys.readouterr().err.count("\n")) == (2, 1)
