from __future__ import annotations

import configparser
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.settings import Settings
from auto_deployment.scheduler.plan import BUSY
from auto_deployment.scheduler.signals import STOP_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

CHECKOUT = "/opt/movierec"
HARDENING = {
    "NoNewPrivileges": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "read-only",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "CapabilityBoundingSet": "",
}


@pytest.fixture(scope="module")
def path(root: Path) -> Path:
    """The unit that is shipped."""
    return root / "scripts" / "movierec-scheduler.service"


@pytest.fixture(scope="module")
def unit(path: Path) -> configparser.ConfigParser:
    """Its sections; a key that stands twice is an error."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


def test_it_runs_the_scheduler_of_the_checkout(unit: configparser.ConfigParser) -> None:
    """As a plain process in its folder, by a user of its own, with the settings of its .env if there is one."""
    service = unit["Service"]
    assert service["Type"] == "simple"
    assert service["ExecStart"] == f"{CHECKOUT}/scripts/run auto_deployment.scheduler"
    assert service["WorkingDirectory"] == CHECKOUT
    assert service["EnvironmentFile"] == f"-{CHECKOUT}/.env"
    assert service["User"] not in {"", "root"}
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_it_is_restarted_where_that_helps(unit: configparser.ConfigParser) -> None:
    """After a failure, for as long as it takes; not for bad settings or a second scheduler, nor when it was stopped."""
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    assert set(service["RestartPreventExitStatus"].split()) == {"2", str(BUSY)}
    assert set(service["SuccessExitStatus"].split()) == {"130", "143"}
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_a_stop_leaves_a_run_the_time_for_its_step(unit: configparser.ConfigParser) -> None:
    """TERM reaches the scheduler alone, and systemd waits for longer than that one does."""
    assert unit["Service"]["KillMode"] == "mixed"
    assert unit["Service"]["TimeoutStopSec"] == "20min"
    assert STOP_SECONDS < 20 * 60


def test_it_may_write_to_its_checkout_only(unit: configparser.ConfigParser) -> None:
    """And has no rights that it does not need; data and logs lie in the checkout by default."""
    service = unit["Service"]
    assert {name: service.get(name) for name in HARDENING} == HARDENING
    assert service["ReadWritePaths"] == CHECKOUT
    assert not Settings.model_fields["data_dir"].default.is_absolute()
    assert not Settings.model_fields["log_dir"].default.is_absolute()


def test_systemd_understands_it(path: Path, root: Path, tmp_path: Path) -> None:
    """Every key and value, as systemd-analyze reads them; the paths are this checkout's, or it would miss them."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace(CHECKOUT, str(root)))
    ended = subprocess.run([tool, "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
