"""One stack for all tests that only ask, brought up once; its containers' last lines where a test fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.settings import load_settings
from auto_deployment.pipeline.metrics import FOLDER, write_run_metrics
from tests.stack.stack import ComposeStack

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """The whole stack of a clone made under umask 077, healthy; gone at the end, with its volumes.

    A retraining in a checkout of its own has left its metrics before.
    """
    retraining = tmp_path_factory.mktemp("retraining")
    leave_metrics(retraining)
    folder = tmp_path_factory.mktemp("stack")
    made = ComposeStack(folder, "movierec-test", PIPELINE_METRICS_DIR=str(retraining / "logs" / FOLDER))
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    made.down()
    try:
        made.up()
        yield made
    finally:
        made.down()
    assert made.left_behind() == []


def leave_metrics(checkout: Path) -> None:
    """Write what a failed collection leaves, under the umask of the scheduler's unit."""
    before = os.umask(0o027)
    try:
        write_run_metrics(load_settings(data_dir=checkout / "data", log_dir=checkout / "logs"), "collect", 1)
    finally:
        os.umask(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the containers' logs to the report of a failed test."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and running is not None:
        report.sections.append(("containers", running.logs()))
    return report
