from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICE, TIMER = ROOT / "scripts" / "movierec-release.service", ROOT / "scripts" / "movierec-release.timer"
CHECKOUT = "/srv/movierec"


def parsed(path: Path) -> configparser.ConfigParser:
    """Its sections; a key that stands twice is an error."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


def test_it_resumes_in_the_checkout_of_the_server() -> None:
    """As the user whom GitLab's key belongs to, in the folder that docs/gitlab.md prepares."""
    service = parsed(SERVICE)["Service"]
    assert service["ExecStart"] == f"{CHECKOUT}/scripts/deploy.sh resume"
    assert service["WorkingDirectory"] == CHECKOUT
    assert service["User"] == "deploy"
    page = (ROOT / "docs" / "gitlab.md").read_text()
    assert f"install -d -o {service['User']} -g {service['User']} {CHECKOUT} " in page
    assert f'command="{CHECKOUT}/scripts/server/deploy-command"' in page


def test_a_release_that_bakes_for_a_day_is_not_ended_for_taking_long() -> None:
    """The start has no limit, and the timer waits for its end."""
    assert parsed(SERVICE)["Service"]["Type"] == "oneshot"
    assert parsed(SERVICE)["Service"]["TimeoutStartSec"] == "infinity"
    assert {*parsed(TIMER)["Timer"]} == {"OnBootSec", "OnUnitInactiveSec"}


def test_what_a_release_ends_with_is_no_failure_of_the_unit() -> None:
    """A release that was taken back, or that another process runs; only 1 and 2 are failures."""
    assert {*parsed(SERVICE)["Service"]["SuccessExitStatus"].split()} == {"3", "4", "75", "130", "143"}


@pytest.mark.parametrize("path", [SERVICE, TIMER], ids=lambda path: path.suffix)
def test_systemd_understands_them(path: Path, tmp_path: Path) -> None:
    """Every key and value; the paths are this checkout's, or it would miss them."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze")
    for each in (SERVICE, TIMER):
        text = each.read_text().replace(f"ExecStart={CHECKOUT}/scripts/deploy.sh", "ExecStart=/bin/true")
        (tmp_path / each.name).write_text(
            re.sub(r"User=deploy|SupplementaryGroups=docker", "", text).replace(CHECKOUT, str(ROOT))
        )
    command = [tool, "verify", "--man=no", str(tmp_path / path.name)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
