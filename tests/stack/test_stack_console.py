"""The console of the real stack in a real browser: what runs, who got what, and sources that are away."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest
import requests
from mysql.connector.connection import MySQLConnection
from mysql.connector.errors import DatabaseError

from auto_deployment.common.http import internal_session
from tests.integration.browser import Reader, browser
from tests.integration.load import Load
from tests.stack.stack import SERVICES, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stack.stack import ComposeStack

pytestmark = pytest.mark.stack

REQUESTS, CLIENTS, PAUSE = 2_000, 8, 0.005
FLOODS = 16
FORBIDDEN = (
    "delete from reccom",
    "insert into tracking (version_number) values (9)",
    "select * from journal_marks",
    "call upkeep()",
)
OUTAGES = [
    pytest.param("prometheus", "/", "Prometheus cannot be reached", id="prometheus"),
    pytest.param("mysql", "/answers", "the database does not answer", id="mysql"),
]


def address(stack: ComposeStack) -> str:
    """Where the console answers."""
    return f"http://127.0.0.1:{stack.ports['CONSOLE_PORT']}"


def get(stack: ComposeStack, path: str) -> str:
    """The text of a page; empty where there is no answer."""
    with internal_session() as session:
        try:
            return session.get(f"{address(stack)}{path}", timeout=5).text
        except requests.RequestException:
            return ""


@pytest.fixture
def reader(stack: ComposeStack) -> Iterator[Reader]:
    """Somebody who looks at the console. No page may make an error."""
    with browser() as launched:
        made = Reader(launched, address(stack))
        yield made
        made.close()
    assert made.complaints == []


def test_the_overview_says_which_version_serves_whom(stack: ComposeStack, reader: Reader) -> None:
    """Each service with its version and track, what clients get, and the kinds of answers."""
    load = Load(stack.port, REQUESTS, CLIENTS, PAUSE)
    load.start()
    load.finish()
    assert load.failures == []
    reader.open("/")
    for service in SERVICES:
        track = "canary" if service == "canary" else "stable"
        reader.page.get_by_role("row", name=re.compile(rf"{service} 0 {track} \d{{4}}-")).wait_for()
    reader.page.get_by_text("popular films, for a user without a history").first.wait_for()
    reader.page.locator(".plot canvas").first.wait_for()
    assert reader.barriers() == []
    assert "Not shown" not in reader.text()


def test_an_answer_of_the_stack_is_found_by_its_user(stack: ComposeStack, reader: Reader) -> None:
    """As soon as the shipper has moved it."""
    _, headers, _ = stack.ask("/recommend/777000777")
    reader.open("/answers?user=777000777")
    reader.page.get_by_text(f"scripts/provenance why {headers['X-Answer-ID']} --console").first.wait_for()


@pytest.mark.parametrize(("service", "path", "message"), OUTAGES)
def test_a_source_that_is_away_is_named_and_comes_back(
    stack: ComposeStack, reader: Reader, service: str, path: str, message: str
) -> None:
    """With what to do. No other page is empty for it."""
    stack.compose("stop", service)
    try:
        reader.open(path)
        reader.page.get_by_text(message).first.wait_for()
        assert f"docker compose ps {service}" in reader.text()
        assert "No release is under way" in reader.open("/release")
    finally:
        stack.compose("up", "-d", "--no-deps", "--wait", service)
    reader.open(path)
    reader.page.get_by_text(message).first.wait_for(state="detached")


def test_the_account_of_the_console_can_only_read(stack: ComposeStack) -> None:
    """Answers and versions, nothing else."""
    secret = (stack.folder / ".secrets" / "console" / "mysql_password").read_text()
    login = {"host": "127.0.0.1", "port": stack.ports["MYSQL_PORT"], "user": "movierec_console", "password": secret}
    with MySQLConnection(**login, database="movierec", connection_timeout=5) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from reccom")
        cursor.fetchall()
        for statement in FORBIDDEN:
            with pytest.raises(DatabaseError, match="denied"):
                cursor.execute(statement)


def test_neither_a_flood_of_requests_for_pages_nor_a_killed_console_fails_an_answer(stack: ComposeStack) -> None:
    """The console has half a core at most, and comes back by itself."""
    ended = threading.Event()

    def flood() -> None:
        while not ended.is_set():
            if not get(stack, "/"):
                ended.wait(0.05)

    floods = [threading.Thread(target=flood, daemon=True) for _ in range(FLOODS)]
    load = Load(stack.port, REQUESTS, CLIENTS, PAUSE)
    for thread in floods:
        thread.start()
    load.start()
    stack.docker("exec", "-u", "0", stack.container("console"), "sh", "-c", "kill -9 1; kill -9 -1", check=False)
    load.finish()
    ended.set()
    for thread in floods:
        thread.join(20)
    assert load.failures == []
    assert load.statuses == {200: REQUESTS}
    wait_until(lambda: get(stack, "/healthz") == "ok", 60, "the console answers again")
