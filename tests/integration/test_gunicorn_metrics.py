from __future__ import annotations

import os
import shutil
import signal
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import Server, wait_until
from tests.unit.app import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DURATION = "flask_http_request_duration_seconds"
SERVICE = {"track": "canary", "version": str(samples.VERSION)}
ANSWERS = {"method": "GET", "status": "200", "url_rule": "/recommend/<user>"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound artifact."""
    return samples.save(tmp_path_factory.mktemp("artifact") / "model")


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server], model: Path) -> Iterator[Server]:
    """A running service with two workers."""
    made = make_server(model, TRACK="canary", SERVICE="canary")
    made.start()
    yield made
    assert made.stop() == 0


def value(server: Server, name: str, **labels: str) -> float:
    """A series of the service; 0 where it is not there yet."""
    return server.scrape().get((name, frozenset({**SERVICE, **labels}.items())), 0.0)


def series(server: Server) -> set[object]:
    """All series there are."""
    return set(server.scrape())


def test_durations_are_grouped_by_route_with_track_and_version(server: Server) -> None:
    """Each answer is one observation of its route, for any client."""
    before = value(server, f"{DURATION}_count", **ANSWERS), value(server, f"{DURATION}_sum", **ANSWERS)
    for user in range(10):
        server.ask(f"/recommend/{user}")
    after = value(server, f"{DURATION}_count", **ANSWERS), value(server, f"{DURATION}_sum", **ANSWERS)
    assert after[0] - before[0] == 10
    assert 0 < after[1] - before[1] < 10


def test_answers_are_counted_by_how_the_list_was_chosen(make_server: Callable[..., Server], model: Path) -> None:
    """Within a second and an answer, and at the latest when the worker ends."""
    server, asked = make_server(model, TRACK="canary", SERVICE="counting"), 20
    server.start()

    def counted() -> float:
        return sum(count for (name, _), count in server.scrape().items() if name == "answers_total")

    for user in range(asked):
        server.ask(f"/recommend/{user}")

    def is_written() -> bool:
        nonlocal asked
        asked += 1
        server.ask("/recommend/5")
        return counted() >= 20

    wait_until(is_written)
    workers = server.workers()
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: len(server.workers()) == 2 and not set(workers) & set(server.workers()))
    assert value(server, "answers_total", step="known") > 0
    assert counted() == asked
    assert server.stop() == 0


def test_refusals_are_counted_by_their_status(server: Server) -> None:
    """400 under the route, 404 and 405 under none."""
    sent = [
        ("/recommend/x", "GET", "400", "/recommend/<user>"),
        ("/nothing", "GET", "404", "None"),
        ("/recommend/5", "POST", "405", "None"),
    ]
    for path, method, status, rule in sent:
        labels = {"method": method, "status": status, "url_rule": rule}
        before = value(server, f"{DURATION}_count", **labels)
        assert str(server.ask(path, method).status) == status
        assert value(server, f"{DURATION}_count", **labels) == before + 1


def test_the_edges_are_those_of_the_contract(server: Server) -> None:
    """From 0.5 ms to 2 s, each at most 1.5 times the last, with edges at 0.5, 0.6 and 0.8 s."""
    server.ask("/recommend/5")
    edges = sorted(
        float(dict(labels)["le"])
        for name, labels in server.scrape()
        if name == f"{DURATION}_bucket" and ANSWERS.items() <= dict(labels).items()
    )
    assert edges[-1] == float("inf")
    assert (edges[0], edges[-2]) == (0.0005, 2.0)
    assert {0.5, 0.6, 0.8} <= set(edges)
    assert max(after / before for before, after in pairwise(edges[:-1])) <= 1.5 + 1e-9


def test_every_series_carries_track_and_version(server: Server) -> None:
    """Every series has the service's track and the model's version."""
    for path in ("/recommend/5", "/recommend/x", "/nothing", "/readyz"):
        server.ask(path)
    found = server.scrape()
    assert found
    assert [name for name, labels in found if not SERVICE.items() <= dict(labels).items()] == []


def test_health_routes_are_not_counted(server: Server) -> None:
    """Probes are no traffic."""
    server.ask("/recommend/5")
    before = server.scrape()
    for _ in range(5):
        server.ask("/healthz")
        server.ask("/readyz")
    assert server.scrape() == before


def test_users_paths_and_methods_add_no_series(server: Server) -> None:
    """A hundred users, unknown paths and invented methods later there are as many series as after the first of each."""

    def ask(number: int) -> None:
        server.ask(f"/recommend/{number}")
        server.ask(f"/recommend/x{number}")
        server.ask(f"/nothing/{number}")
        server.ask("/recommend/5", f"INVENTED{number}")
        server.ask("/recommend/5", headers={"X-Request-ID": f"asked-{number}"})

    ask(0)
    before = series(server)
    for number in range(1, 100):
        ask(number)
    assert series(server) == before


def test_the_port_of_the_answers_has_no_metrics(server: Server) -> None:
    """/metrics is not found there, and leaves no trace of what it would show."""
    answer = server.ask("/metrics")
    assert answer.status == 404
    assert answer.body == b"not found"


def test_metrics_answer_while_every_worker_is_held_up(server: Server) -> None:
    """A service that hangs can still be scraped."""
    workers = server.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert server.scrape()
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def test_counts_survive_a_worker_that_is_killed(server: Server) -> None:
    """Kill -9 of a worker: the master starts another, what was counted stays, and counting goes on."""
    for _ in range(20):
        server.ask("/recommend/5")
    before, workers = value(server, f"{DURATION}_count", **ANSWERS), server.workers()
    found = series(server)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2 and workers[0] not in server.workers())
    assert value(server, f"{DURATION}_count", **ANSWERS) == before
    for _ in range(20):
        assert server.ask("/recommend/5").status == 200
    assert value(server, f"{DURATION}_count", **ANSWERS) == before + 20
    assert series(server) == found


def test_the_end_of_a_worker_is_counted_and_is_no_start_of_the_service(server: Server) -> None:
    """A worker that the kernel kills again and again, for its memory say, shows, though the service never starts anew."""
    started, exits = value(server, "service_start_time_seconds"), value(server, "service_worker_exits_total")
    killed = server.workers()[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2 and killed not in server.workers())
    for _ in range(10):
        server.ask("/recommend/5")
    assert value(server, "service_worker_exits_total") == exits + 1
    assert value(server, "service_start_time_seconds") == started


def test_an_empty_file_of_a_killed_worker_costs_its_counts_only(server: Server) -> None:
    """The scrape answers with all other counts, and the loss is a count of its own."""
    workers = server.workers()
    file = server.folder / "run" / "metrics" / f"counter_{workers[0]}.db"

    def has_answered() -> bool:
        """A worker has a file from its first answer on."""
        server.ask("/recommend/5")
        return file.exists()

    wait_until(has_answered)
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2 and workers[0] not in server.workers())
    lost, started = value(server, "metrics_files_lost_total"), value(server, "service_start_time_seconds")
    os.truncate(file, 0)
    assert value(server, "metrics_files_lost_total") == lost + 1
    assert value(server, "service_start_time_seconds") == started


def test_a_start_is_reported_by_its_time(make_server: Callable[..., Server], model: Path) -> None:
    """The time of this start, not of one before it."""
    server = make_server(model, TRACK="canary", WORKERS="1")
    for _ in range(2):
        before = time.time()
        server.start()
        server.ask("/recommend/5")
        assert before < value(server, "service_start_time_seconds") < time.time()
        assert server.stop() == 0


def test_what_the_journals_hold_is_reported_with_what_they_may(server: Server) -> None:
    """All files of this service's folder, whoever wrote them; another service's count there."""
    server.ask("/recommend/5")
    folder = server.journals / "canary"
    (folder / "left.broken").write_bytes(b"x" * 1000)
    (server.journals / "other").mkdir()
    (server.journals / "other" / "1.tsv").write_bytes(b"x" * 5000)
    held = sum(path.stat().st_size for path in folder.iterdir())
    assert held > 1000
    assert value(server, "journal_bytes") == held
    assert value(server, "journal_max_bytes") == 1024 << 20


def test_without_journals_none_are_reported(make_server: Callable[..., Server], model: Path) -> None:
    """Where JOURNAL_DIR is not set."""
    server = make_server(model, TRACK="canary", WORKERS="1", JOURNAL_DIR="")
    server.start()
    assert {name for name, _ in server.scrape() if name in {"journal_bytes", "journal_max_bytes"}} == set()
    assert server.stop() == 0


def test_counts_of_a_former_life_are_forgotten(make_server: Callable[..., Server], model: Path) -> None:
    """The metric folder is emptied at the start: the files of a killed service are not added to the new one's counts."""
    server = make_server(model, TRACK="canary", WORKERS="1")
    server.start()
    for _ in range(5):
        server.ask("/recommend/5")
    assert value(server, f"{DURATION}_count", **ANSWERS) == 5
    left = server.folder / "left"
    shutil.copytree(server.folder / "run" / "metrics", left)
    assert server.stop() == 0
    shutil.copytree(left, server.folder / "run" / "metrics", dirs_exist_ok=True)
    server.start()
    server.ask("/recommend/5")
    assert value(server, f"{DURATION}_count", **ANSWERS) == 1
    assert server.stop() == 0


def test_metrics_can_be_switched_off(make_server: Callable[..., Server], model: Path) -> None:
    """METRICS=0: lists are served, and nobody listens on the port of the metrics."""
    server = make_server(model, METRICS="0", WORKERS="1")
    server.start()
    assert server.ask("/recommend/5").status == 200
    with pytest.raises(ConnectionRefusedError):
        server.scrape()
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_until(server.is_up)
    assert server.stop() == 0
    assert "Traceback" not in server.errors()
