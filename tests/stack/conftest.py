"""One stack for all tests that only ask, brought up once; its containers' last lines where a test fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack, healthy; gone at the end, with its volumes."""
    made = Stack(tmp_path_factory.mktemp("stack"), "movierec-test")
    made.down()
    try:
        made.up()
        yield made
    finally:
        made.down()
    assert made.left_behind() == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the containers said to the report of a test that failed."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and running is not None:
        report.sections.append(("containers", running.logs()))
    return report
