"""`bench console`: the first byte of each page after ten million answers and a thousand versions, and its processor time.

MySQL, Prometheus and Gunicorn are real. MySQL has a row of `reccom` for each answer of 90 days, and the user `BUSY` has a
hundredth of them. A page is cold as the first one of a new console.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.console_files import publish_chain
from auto_deployment.release.analysis.verdict import Decision, Verdict
from auto_deployment.release.state import INITIAL
from auto_deployment.release.state_machine import Ending
from scripts.ports import reserve
from tests.bench.measure import Row, row
from tests.bench.servers import Server, wait_ready
from tests.integration.monitoring.tools import prometheus_with
from tests.integration.mysql.server import Database
from tests.integration.mysql.server import Server as MysqlServer
from tests.unit.app.console.host import BAKING, READINGS, Host, chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
DAYS, ROWS_A_DAY, VERSIONS, RELEASES = 90, 111_112, 1000, 200
USERS, BUSY, NOBODY = 1_000_000, 1, 2_000_000
STARTS, SETTLE_SECONDS, VISITS, REFRESH_SECONDS, IDLE_SECONDS = 3, 1, 20, 15, 60
FIRST_BYTE_GOAL, WATCHED_GOAL, IDLE_GOAL = 200.0, 10.0, 1.0  # ms; percent of a core
USER, PASSWORD = "movierec_console", "console's own"
MYSQL_OPTIONS = ("--innodb-buffer-pool-size=512M", "--innodb-redo-log-capacity=512M")
HISTORY_SECONDS, SCRAPE, AHEAD = 3 * 3600, 15, 3600

# A second's answers have ids in the order of time, as `app.routes.new_id` makes them.
DAY = """
insert into reccom (answer_id, day, request_id, user_id, version_number, track, served_at, step, digest)
select concat(lpad(lower(hex({milliseconds} + at * 770)), 12, '0'), '70008', lpad(at, 15, '0')), '{day}',
  left(sha2(concat(at, '{day}'), 256), 32), if(at % 100 = 0, {busy}, {busy} + 1 + (at * 7919 + {version} * 104729) % {users}),
  {version} + at div 20000, if(at % 5, 'stable', 'canary'), timestamp('{day}') + interval at * 770000 microsecond,
  if(at % 3, 'popular', 'known'), left(sha2(at, 256), 16)
from (select a.digit * 1000 + b.digit as at from digits a cross join digits b where a.digit < 112) as numbers
where at < {rows} order by at
"""


def run() -> list[Row]:
    """A row for each page, cold and warm, and the rows of the processor time. Fills MySQL for ten minutes first."""
    mysql = MysqlServer()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        try:
            mysql.run(*MYSQL_OPTIONS)
            mysql.wait()
            return measured(filled(mysql, Path(name)), Path(name))
        finally:
            mysql.remove()


def filled(mysql: MysqlServer, folder: Path) -> Database:
    """A database with all answers."""
    database = Database(mysql, folder)
    database.migrate(PROVENANCE_KEEP_DAYS=str(DAYS), CONSOLE_PASSWORD_FILE=database.secret("console_password", PASSWORD))
    database.ask("create table digits (digit int primary key)")
    database.ask(
        "insert into digits with recursive c(n) as (select 0 union all select n + 1 from c where n < 999) select n from c"
    )
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(DAYS):
        day = today - timedelta(days=DAYS - 1 - number)
        parts = {"milliseconds": int(day.timestamp() * 1000), "day": f"{day:%Y-%m-%d}", "version": 10 + number * 11}
        database.ask(DAY.format(**parts, busy=BUSY, users=USERS, rows=ROWS_A_DAY))
    return database


def measured(database: Database, folder: Path) -> list[Row]:
    """All rows, of a database that has its answers."""
    newest = "select answer_id, request_id, user_id from reccom where user_id <> %s order by answer_id desc limit 1"
    ((answer, request, user),) = database.ask(newest, BUSY)
    host = _host(folder / "host", answer)
    pages = {
        "overview": "/",
        "release under way": "/release",
        "ended release": f"/release/{_release_folder(7)}",
        "versions": "/versions",
        "oldest versions": f"/versions?page={VERSIONS}",
        "two versions": f"/versions/{VERSIONS}?with=1",
        "answers": "/answers",
        f"user with {DAYS * ROWS_A_DAY // 100:,} answers": f"/answers?user={BUSY}",
        "user with about 10 answers": f"/answers?user={user}",
        "user without an answer": f"/answers?user={NOBODY}",
        "answer by its id": f"/answers/{answer}",
        "answer by its request": f"/answers/{request}",
        "settings": "/settings",
    }
    with prometheus_with(folder, _history()) as prometheus:
        parts = {
            "METRICS_URL": prometheus,
            "PROVENANCE_URL": database.url(USER, PASSWORD),
            "RELEASE_DIR": str(host.releases),
            "VERSIONS_DIR": str(host.versions),
            "CONSOLE_DIR": str(host.logs / "console"),
        }
        cold = {name: _cold(parts, path) for name, path in pages.items()}
        without = {name: value for name, value in parts.items() if name != "METRICS_URL"}
        cold["overview by answers"] = _cold(without, "/")
        with _console(without) as console:
            warm = {"overview by answers": _warm(console, "/")}
        with _console(parts) as console:
            for name, path in pages.items():
                warm[name] = _warm(console, path)
            refreshes = [
                _share("refreshes of overview", _refresh(console, "/"), WATCHED_GOAL),
                _share("refreshes of release", _refresh(console, "/release"), WATCHED_GOAL),
                _share("nobody looks", _idle(console), IDLE_GOAL),
            ]
    firsts = [
        _row(f"{name}, {state}", values) for state, found in (("cold", cold), ("warm", warm)) for name, values in found.items()
    ]
    return [*firsts, *refreshes]


def _row(name: str, milliseconds: list[float]) -> Row:
    return row("console", name, [(each, FIRST_BYTE_GOAL) for each in milliseconds], "lower", 1.0, "ms")


def _share(name: str, percent: float, goal: float) -> Row:
    return row("console", f"{name}, share of a core", [(percent, goal)], "lower", 1.0, "%")


@contextmanager
def _console(environment: Mapping[str, str]) -> Iterator[Server]:
    """A console with the settings of the container."""
    (port,) = reserve()
    settings = ROOT / "app" / "console" / "gunicorn_settings.py"
    command = [sys.executable, "-m", "gunicorn", "--config", str(settings), "--bind", f"127.0.0.1:{port}"]
    with tempfile.NamedTemporaryFile(prefix="bench-console-", suffix=".log") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        running = Server(process, port)
        try:
            wait_ready(running, process, Path(log.name), 1)
            _first_byte(running, "/healthz")  # the worker has loaded the application
            yield running
        finally:
            running.stop()


def _first_byte(console: Server, path: str) -> float:
    """Milliseconds from the request to the first byte. Raises RuntimeError where the page lacks something."""
    connection = http.client.HTTPConnection("127.0.0.1", console.port, timeout=60)
    try:
        start = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        milliseconds = (time.perf_counter() - start) * 1000
        page = answer.read().decode()
        if answer.status != http.HTTPStatus.OK or ("Not shown" in page and path != "/"):
            raise RuntimeError(f"{path}: {answer.status} {page}")
    finally:
        connection.close()
    return milliseconds


def _cold(environment: Mapping[str, str], path: str) -> list[float]:
    found = []
    for _ in range(STARTS):
        with _console(environment) as console:
            time.sleep(SETTLE_SECONDS)
            found.append(_first_byte(console, path))
    return found


def _warm(console: Server, path: str) -> list[float]:
    return [_first_byte(console, path) for _ in range(VISITS + 1)][1:]


def _refresh(console: Server, path: str) -> float:
    """The share of a core, in percent, for one person whose page refreshes."""
    before = console.processor_seconds()
    _warm(console, path)
    return 100 * (console.processor_seconds() - before) / (VISITS + 1) / REFRESH_SECONDS


def _idle(console: Server) -> float:
    """The share of a core, in percent, when only the health check asks, every 30 s."""
    before = console.processor_seconds()
    for _ in range(2):
        _first_byte(console, "/healthz")
        time.sleep(IDLE_SECONDS / 2)
    return 100 * (console.processor_seconds() - before) / IDLE_SECONDS


def _release_folder(number: int) -> str:
    return f"20260105T080000Z-{number}"


def _host(folder: Path, answer: str) -> Host:
    """The files of the host side: versions, ended releases, one under way, and an explained answer."""
    host = Host(folder)
    host.publish(1)
    report = (host.versions / "report_1.json").read_text()
    for number in range(2, VERSIONS + 1):
        changed = {**json.loads(report), "version": number}
        (host.versions / f"report_{number}.json").write_text(json.dumps(changed))
    state, now = INITIAL, time.time()
    for number in range(1, RELEASES + 1):
        ended = replace(BAKING, version=number, ending=Ending.PROMOTED, folder=_release_folder(number))
        state = replace(state, in_service=number, under_way=ended).ended(ended, now - 3600, false_alarm=False)
    bake = replace(BAKING, version=RELEASES + 1, began=now - 12 * 3600, bake_began=now - 11 * 3600)
    host.release(replace(state, under_way=bake), Verdict(Decision.BAKING, 660.0, READINGS * 4))
    publish_chain(host.logs, answer, chain())
    (host.logs / "console" / "settings.json").write_text(json.dumps({f"SETTING_{number}": number for number in range(90)}))
    return host


def _history() -> Iterator[str]:
    """What Prometheus has: every series of the pages, each 15 s of three hours, and an hour more for the benchmark itself."""
    services = ("stable-1", "stable-2", "canary")
    by_service = ("up", "service:nginx_tries:rate5m", "service:nginx_try_errors:ratio_rate5m")
    times = ("service:nginx_try_seconds:p99_5m", "service:nginx_try_seconds:mean5m")
    single = ("nginx_answers:rate5m", "nginx_answers_success:ratio_rate5m", "nginx_answer_seconds:p50_5m")
    pipeline = ("pipeline_version", "pipeline_version_time_seconds", "pipeline_kafka_lag", "shipper_database_up")
    names = [*single, "nginx_answer_seconds:p99_5m", *pipeline]
    for service in services:
        names += [f'{each}{{job="service",service="{service}"}}' for each in (*by_service, *times)]
        labels = f'service="{service}",track="stable",version="7"'
        names += [f"service_start_time_seconds{{{labels}}}", f"journal_bytes{{{labels}}}", f"journal_max_bytes{{{labels}}}"]
        names += [f'answers_total{{{labels},step="{step}"}}' for step in ("known", "popular", "seen_all")]
    now = time.time()
    for series in names:
        for at in range(-HISTORY_SECONDS, AHEAD, SCRAPE):
            yield f"{series} {1 if series.startswith('up') else 2 + at / 1e5:.5f} {now + at:.3f}"
