from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.stack.alertmanager import files
from tests.integration.monitoring.tools import tool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

MAIL = {"SMTP_HOST": "mail.example.org", "MAIL_FROM": "bot@example.org", "MAIL_TO": "Ann <ann@example.org>, bea@example.org"}
LOGIN = {"SMTP_PORT": "465", "SMTP_USER": "bot", "SMTP_PASSWORD": 'hunter2"{{'}
SLACK = {"SLACK_WEBHOOK_URL": "https://hooks.example.org/services/T0/B0/zyxwv"}


@pytest.mark.parametrize(
    "environment",
    [{}, MAIL, SLACK, {**MAIL, **LOGIN}, {**MAIL, **LOGIN, **SLACK}, {**MAIL, "SMTP_HOST": "localhost"}],
    ids=["nothing", "mail", "slack", "login", "all", "local"],
)
def test_alertmanager_takes_every_configuration(environment: dict[str, str], tmp_path: Path) -> None:
    """By amtool, with the files of the secrets in place."""
    for name, content in files(environment, "/folder").items():
        (tmp_path / name).write_text(content)
    output = tool("alertmanager", "amtool", "check-config", "/folder/alertmanager.yml", folder=tmp_path)
    assert "SUCCESS" in output
    assert "1 receivers" in output
