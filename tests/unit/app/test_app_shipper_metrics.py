from __future__ import annotations

import socket
import threading
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import shipper
from app.journal import Journal, to_line
from app.provenance import DatabaseError, Ledger
from app.shipper import Shipper, run
from app.shipper_metrics import serve
from scripts.ports import reserve
from tests.unit.app.samples import row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = len(to_line(row(0)))


class Away(Ledger):
    """A database that can be away."""

    away = False

    def add_answers(self, *arguments: object) -> None:
        """Add them, or not."""
        if self.away:
            raise DatabaseError("away")
        super().add_answers(*arguments)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Away]:
    """A database."""
    made = Away(f"sqlite:///{tmp_path / 'provenance.sqlite'}")
    yield made
    made.close()


def once(made: Shipper) -> None:
    """One call of the shipper, as its process makes it."""
    stop = threading.Event()
    stop.set()
    run(made, 0.1, stop)


def metrics(port: int, host: str = "127.0.0.1") -> dict[str, float]:
    """The shipper's series that its port tells, by name and service."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {" ".join([each.name, *each.labels.values()]): each.value for each in samples}


def test_what_waits_is_reported_for_each_service(tmp_path: Path, ledger: Away) -> None:
    """Bytes that are written and not in the database; none of a service that has caught up."""
    journals = {name: Journal(tmp_path / "journals" / name, 1 << 20, 1 << 18) for name in ("stable-1", "canary")}
    made, port = Shipper(tmp_path / "journals", ledger, 1000), reserve()[0]
    serve(made, f"127.0.0.1:{port}")
    assert metrics(port) == {
        "shipper_rows_total": 0,
        "shipper_database_up": 0,
        "shipper_waiting_bytes stable-1": 0,
        "shipper_waiting_bytes canary": 0,
    }
    for number in range(3):
        journals["canary"].append(to_line(row(number)))
    assert metrics(port)["shipper_waiting_bytes canary"] == 3 * SIZE
    once(made)
    assert metrics(port) == {
        "shipper_rows_total": 3,
        "shipper_database_up": 1,
        "shipper_waiting_bytes stable-1": 0,
        "shipper_waiting_bytes canary": 0,
    }
    journals["canary"].append(to_line(row(3)))
    assert metrics(port)["shipper_waiting_bytes canary"] == SIZE
    for journal in journals.values():
        journal.close()


def test_a_database_that_is_away_is_reported_until_it_is_back(tmp_path: Path, ledger: Away) -> None:
    """What waits then is all that was not taken."""
    journal = Journal(tmp_path / "journals" / "stable-1", 1 << 20, 1 << 18)
    made, port = Shipper(tmp_path / "journals", ledger, 1000), reserve()[0]
    serve(made, f"127.0.0.1:{port}")
    once(made)
    ledger.away = True
    journal.append(to_line(row(1)))
    once(made)
    assert metrics(port) == {"shipper_rows_total": 0, "shipper_database_up": 0, "shipper_waiting_bytes stable-1": SIZE}
    ledger.away = False
    once(made)
    assert metrics(port) == {"shipper_rows_total": 1, "shipper_database_up": 1, "shipper_waiting_bytes stable-1": 0}
    journal.close()


def test_the_metrics_are_served_on_an_ipv6_address(tmp_path: Path, ledger: Away) -> None:
    """In brackets, as everywhere."""
    port = reserve()[0]
    serve(Shipper(tmp_path, ledger, 1000), f"[::1]:{port}")
    assert metrics(port, "[::1]")["shipper_rows_total"] == 0


def test_a_port_that_is_taken_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the setting's name."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {
            "JOURNAL_DIR": str(tmp_path),
            "PROVENANCE_URL": f"sqlite:///{tmp_path / 'p.sqlite'}",
            "SHIPPER_METRICS_BIND": bind,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            shipper.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"SHIPPER_METRICS_BIND: {bind}: Address already in use\n"
