from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.memory import available_gb
from auto_deployment.training.spark import session

ROOT = Path(__file__).resolve().parents[5]


def test_a_process_has_one_master(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same one is given again; another is refused, not taken for the first."""
    monkeypatch.setattr(session, "_sessions", {})
    monkeypatch.setattr(session, "_begun", lambda master, _: f"session on {master}")
    assert [session.session("local[2]") for _ in range(2)] == ["session on local[2]"] * 2
    with pytest.raises(WrongUseError, match=r"has its Spark session on local\[2\]: spark://host:7077 needs another process"):
        session.session("spark://host:7077")


def test_a_context_that_did_not_begin_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call tries again, on whatever master."""
    monkeypatch.setattr(session, "_sessions", {})
    monkeypatch.setattr(session, "_begun", lambda master, _: {"local": "session"}[master])
    with pytest.raises(KeyError):
        session.session("spark://host:7077")
    assert session.session("local") == "session"


def test_half_of_the_memory_is_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of MEMORY_GB where it is given, else of what is available; Spark does not start with less than 512 MiB."""
    begun: list[float] = []
    monkeypatch.setattr(session, "_sessions", {})
    monkeypatch.setattr(session, "_begun", lambda _, memory_gb: begun.append(memory_gb))
    session.session("local", 8.0)
    monkeypatch.setattr(session, "_sessions", {})
    session.session("local")
    assert begun == [8.0, available_gb()]
    assert session.driver_memory(8.0)["spark.driver.memory"] == "3814m"
    assert session.driver_memory(0.5)["spark.driver.memory"] == "512m"


def test_the_handler_of_interrupts_stays_ours() -> None:
    """Whatever is put in its place meanwhile."""
    before = signal.getsignal(signal.SIGINT)
    with session._own_interrupt():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) == before


def test_the_code_for_executors_goes_with_the_process(tmp_path: Path) -> None:
    """The archive is there while the process runs, and its folder is gone afterwards."""
    code = "from auto_deployment.training.spark.session import _code; print(_code().stat().st_size)"
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert int(ended.stdout) > 1_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("An error occurred while calling x.\n: org.apache.spark.SparkException: no master\n\tat a", "no master"),
        ("[JAVA_GATEWAY_EXITED] Java gateway process exited.", "[JAVA_GATEWAY_EXITED] Java gateway process exited."),
        ("", ""),
    ],
)
def test_an_error_of_spark_is_reported_in_a_line(text: str, reason: str) -> None:
    """Java's own words without its trace."""
    assert session._reason(ValueError(text)).endswith(reason)
    assert "\n" not in session._reason(ValueError(text))
