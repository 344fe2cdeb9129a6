"""One MySQL for all tests of a worker, and for each test a database of its own, up to date."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

import mysql.connector
import pytest

from app.provenance.archive import Archive
from tests.integration.mysql.server import Database, NoEngineError, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder needs an engine."""
    for item in items:
        if "tests/integration/mysql" in str(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server; gone at the end, with its data."""
    made = Server()
    try:
        made.start()
    except NoEngineError as error:
        pytest.skip(str(error))
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def shared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A database that is up to date, for tests that change nothing."""
    made = Database(server, tmp_path_factory.mktemp("shared"))
    made.migrate()
    return made


@pytest.fixture
def empty(server: Server, tmp_path: Path) -> Iterator[Database]:
    """A database that is not there yet."""
    made = Database(server, tmp_path)
    yield made
    with suppress(mysql.connector.Error):  # it was never made
        made.drop()


@pytest.fixture
def database(empty: Database) -> Database:
    """A database that is up to date."""
    empty.migrate()
    return empty


@pytest.fixture
def service(database: Database) -> Iterator[Archive]:
    """The database as the services' account has it."""
    with closing(Archive(database.service)) as made:
        yield made


@pytest.fixture
def host(database: Database) -> Iterator[Archive]:
    """The database as the host side's account has it."""
    with closing(Archive(database.host)) as made:
        yield made
