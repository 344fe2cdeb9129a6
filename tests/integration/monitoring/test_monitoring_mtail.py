"""mtail on lines as NGINX writes them: the form is nginx/http.conf's, the values are from NGINX's log."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.metrics import SECONDS
from scripts.ports import reserve
from tests.integration.conftest import wait_until
from tests.integration.monitoring.tools import ROOT, docker, image_of, tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

STABLE_1, STABLE_2, CANARY = (f"10.213.82.{host}:5000" for host in (11, 12, 13))
TRIES, ANSWERS = "nginx_tries_total", "nginx_answers_total"
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def log_format() -> str:
    """The log of tries' format."""
    scraped = re.search(r"log_format tries escape=json\n((?:\s+'.*'\n?)+);", (ROOT / "nginx" / "http.conf").read_text())
    assert scraped is not None
    return "".join(re.findall(r"'(.*)'", scraped[1]))


FORMAT = log_format()
USUAL = {
    "time_iso8601": "2026-11-23T12:24:54+00:00",
    "msec": "1795436694.619",
    "kept_request_id": "06d5f095068fcd636f3646d96f3a0b71",
    "upstream_http_x_answer_id": "a1",
    "request_method": "GET",
    "request_uri": "/recommend/5",
    "status": "200",
    "request_time": "0.002",
    "upstream_addr": STABLE_1,
    "upstream_status": "200",
    "upstream_response_time": "0.002",
    "upstream_http_x_model_version": "7",
    "upstream_http_x_track": "stable",
}


def line(**values: str) -> str:
    """A line of the log, with values of NGINX's variables other than the usual."""
    return re.sub(r"\$([a-z0-9_]+)", lambda name: {**USUAL, **values}[name[1]], FORMAT)


def tried(addresses: str, statuses: str, times: str = "0.001, 0.002, 0.003, 0.004, 0.005", **values: str) -> str:
    """A line of tries."""
    separators = re.findall(", | : ", addresses)
    times = "".join(each for pair in zip(times.split(", "), [*separators, ""], strict=False) for each in pair)
    return line(upstream_addr=addresses, upstream_status=statuses, upstream_response_time=times, **values)


def parsed(text: str) -> Series:
    """All series but the label of mtail's own, by name and labels."""
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {(each.name, frozenset((k, v) for k, v in each.labels.items() if k != "prog")): each.value for each in samples}


def read(folder: Path, lines: Iterable[str]) -> Series:
    """What mtail makes of these lines."""
    with (folder / "tries.log").open("w") as log:
        log.writelines(f"{each}\n" for each in lines)
    output = tool(
        *("mtail", "mtail", "--progs", "monitoring/mtail", "--logs", "/folder/tries.log"),
        *("--one_shot", "--one_shot_format", "prometheus", "--logtostderr"),
        folder=folder,
    )
    return parsed("\n".join(each for each in output.splitlines() if each.startswith(("nginx_", "# TYPE nginx_"))) + "\n")


def of(series: Series, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The series of a name that are not 0, by the values of some labels."""
    found = {tuple(dict(given)[label] for label in labels): value for (each, given), value in series.items() if each == name}
    return {key: value for key, value in found.items() if value}


def test_mtail_takes_the_program(tmp_path: Path) -> None:
    """It compiles, and reads an empty log."""
    tool("mtail", "mtail", "--progs", "monitoring/mtail", "--compile_only", "--logtostderr")
    assert of(read(tmp_path, []), "nginx_lines_total") == {}


@pytest.mark.parametrize(
    ("addresses", "statuses", "outcomes"),
    [
        (STABLE_1, "200", {("stable-1", "2xx"): 1}),
        (CANARY, "400", {("canary", "4xx"): 1}),
        (f"{CANARY}, {STABLE_2}", "500, 200", {("canary", "5xx"): 1, ("stable-2", "2xx"): 1}),
        (f"{CANARY}, {STABLE_2}", "503, 200", {("canary", "5xx"): 1, ("stable-2", "2xx"): 1}),
        (f"{STABLE_1}, {STABLE_2}", "502, 200", {("stable-1", "error"): 1, ("stable-2", "2xx"): 1}),
        (f"{CANARY}, {STABLE_1}", "504, 200", {("canary", "timeout"): 1, ("stable-1", "2xx"): 1}),
        (STABLE_1, "-", {("stable-1", "cut"): 1}),
        (f"{CANARY}, {STABLE_1}", "504, -", {("canary", "timeout"): 1, ("stable-1", "cut"): 1}),
        (
            ", ".join([STABLE_1] * 5),
            "502, 502, 502, 504, 200",
            {("stable-1", "error"): 3, ("stable-1", "timeout"): 1, ("stable-1", "2xx"): 1},
        ),
        (
            f"{CANARY}, {STABLE_1}, {STABLE_2}",
            "500, 502, 504",
            {("canary", "5xx"): 1, ("stable-1", "error"): 1, ("stable-2", "timeout"): 1},
        ),
        ("recommend", "502", {}),
        (f"{STABLE_1}, recommend", "502, 502", {("stable-1", "error"): 1}),
        (f"{STABLE_1}, recommend : {CANARY}", "504, 502 : 200", {("stable-1", "timeout"): 1, ("canary", "2xx"): 1}),
        ("10.213.82.14:5000", "200", {}),
    ],
)
def test_every_try_is_counted_with_its_outcome(
    tmp_path: Path, addresses: str, statuses: str, outcomes: dict[tuple[str, str], float]
) -> None:
    """By service, from the last number of its address. Other addresses are left out."""
    series = read(tmp_path, [tried(addresses, statuses)])
    assert of(series, TRIES, "service", "outcome") == outcomes
    assert of(series, "nginx_lines_odd_total") == {}


def test_answers_are_counted_by_what_the_client_saw(tmp_path: Path) -> None:
    """A client that left stands apart from one that was refused."""
    statuses = ["200", "204", "301", "400", "404", "405", "414", "499", "500", "502", "504"]
    series = read(tmp_path, [line(status=status) for status in statuses])
    assert of(series, ANSWERS, "status_class") == {("2xx",): 2, ("3xx",): 1, ("4xx",): 4, ("499",): 1, ("5xx",): 3}


def test_how_long_answers_and_tries_took(tmp_path: Path) -> None:
    """The tries that succeeded, and those that were waited out; a refused connection, which takes no time, flatters nobody."""
    lines = [
        tried(f"{CANARY}, {STABLE_1}", "504, 200", "0.281, 0.002", request_time="0.283"),
        tried(f"{CANARY}, {STABLE_1}", "502, 200", "0.000, 0.004", request_time="0.004"),
        tried(f"{CANARY}, {STABLE_1}", "500, 400", "0.100, 0.100", request_time="0.2"),
    ]
    series = read(tmp_path, lines)
    assert of(series, "nginx_try_seconds_count", "service") == {("canary",): 1, ("stable-1",): 2}
    assert of(series, "nginx_try_seconds_sum", "service") == {("canary",): 0.281, ("stable-1",): pytest.approx(0.006)}
    assert of(series, "nginx_answer_seconds_count") == {(): 3}
    assert of(series, "nginx_answer_seconds_sum") == {(): pytest.approx(0.487)}


def test_the_edges_are_those_of_the_services(tmp_path: Path) -> None:
    """And a time on an edge is within it."""
    series = read(tmp_path, [tried(STABLE_1, "200", "0.5", request_time="0.5")])
    for name in ("nginx_try_seconds_bucket", "nginx_answer_seconds_bucket"):
        buckets = {float(dict(labels)["le"]): value for (each, labels), value in series.items() if each == name}
        assert sorted(buckets) == [*SECONDS, float("inf")]
        assert {edge for edge, value in buckets.items() if value} == {edge for edge in buckets if edge >= 0.5}


def test_what_is_no_recommendation_does_not_count(tmp_path: Path) -> None:
    """Health checks and unknown paths; but every series that a rate needs is there, at 0, from the first line on."""
    series = read(tmp_path, [line(request_uri=uri) for uri in ("/healthz", "/readyz", "/", "/metrics", "/recommend")])
    assert of(series, ANSWERS, "status_class") == of(series, TRIES, "service", "outcome") == {}
    assert of(series, "nginx_lines_total") == {(): 5}
    there = {tuple(sorted(labels)) for name, labels in series if name == TRIES}
    assert len(there) == 3 * 6
    assert {dict(labels)["status_class"] for name, labels in series if name == ANSWERS} == {"2xx", "4xx", "499", "5xx"}


@pytest.mark.parametrize(
    "uri",
    [
        r"/recommend/5?\",\"status\":500,\"request_time\":9.000,\"upstream_addr\":\"10.213.82.13:1",
        "/recommend/%22,%22status%22:500",
    ],
)
def test_a_path_cannot_pass_for_the_rest_of_the_line(tmp_path: Path, uri: str) -> None:
    """However a client spells it; NGINX escapes the marks."""
    series = read(tmp_path, [line(request_uri=uri)])
    assert of(series, ANSWERS, "status_class") == {("2xx",): 1}
    assert of(series, TRIES, "service", "outcome") == {("stable-1", "2xx"): 1}


def test_a_line_that_is_not_understood_is_counted(tmp_path: Path) -> None:
    """Cut short, of an impossible status, or of more tries than are read."""
    lines = [
        line().partition('"request_time"')[0],
        line(status="009"),
        tried(", ".join([STABLE_1] * 6), ", ".join(["502"] * 6), ", ".join(["0.001"] * 6)),
    ]
    assert of(read(tmp_path, lines), "nginx_lines_odd_total") == {(): 3}


def test_100_000_users_add_no_series(tmp_path: Path) -> None:
    """Nor do their request ids, answers, versions or addresses."""

    def asked(number: int) -> str:
        names = {
            "kept_request_id": f"r{number}",
            "upstream_http_x_answer_id": f"a{number}",
            "upstream_http_x_model_version": str(number),
        }
        return tried(f"{CANARY}, {STABLE_1}", "504, 200", request_uri=f"/recommend/{number}?x={number}", **names)

    one = read(tmp_path, [asked(0)])
    many = read(tmp_path, map(asked, range(100_000)))
    assert set(one) == set(many)
    assert of(many, TRIES, "service", "outcome") == {("canary", "timeout"): 100_000, ("stable-1", "2xx"): 100_000}


def _health_check(log: Path) -> bool:
    with log.open("a") as file:
        file.write(line(request_uri="/healthz") + "\n")
    return True


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """An mtail that follows a log, as in the stack: the log's path, and what it tells now."""
    (tmp_path / "tries.log").write_text("")
    (port,) = reserve()
    mounts = ["-v", f"{ROOT / 'monitoring' / 'mtail'}:/etc/mtail:ro", "-v", f"{tmp_path}:/logs:ro"]
    options = ["--user", "0:0", "-p", f"127.0.0.1:{port}:3903", *mounts]
    command = ["--progs", "/etc/mtail", "--logs", "/logs/tries.log", "--logtostderr", "--port", "3903"]
    container = docker("run", "-d", "--rm", *options, image_of("mtail"), *command).stdout.strip()

    def scraped() -> Series:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                return parsed(answer.read().decode())
        except OSError:
            return {}

    try:
        log = tmp_path / "tries.log"
        # It reads on from the end that it finds: what is written before does not count.
        wait_until(lambda: _health_check(log) and of(scraped(), "nginx_lines_total"), 30)
        yield log, scraped
    finally:
        docker("rm", "-f", container, check=False)


def test_no_line_is_lost_when_the_log_rolls(running: tuple[Path, Any]) -> None:
    """It is renamed and a new one begun at once, as nginx/stack/start.sh has NGINX do, while lines are being written."""
    log, scraped = running
    written = 0
    for roll in range(3):
        with log.open("a") as file:
            for _ in range(40):
                file.write(f"{line()}\n")
                file.flush()
                written += 1
                time.sleep(0.01)
            log.rename(log.with_name(f"tries-{roll}.log"))
            log.write_text("")
    with log.open("a") as file:
        file.write(f"{line()}\n")
    wait_until(lambda: of(scraped(), ANSWERS, "status_class").get(("2xx",), 0) >= written + 1, 10)
    assert of(scraped(), ANSWERS, "status_class") == {("2xx",): written + 1}
