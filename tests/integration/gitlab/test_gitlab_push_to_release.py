"""From a push to a release that has begun, with nothing typed in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.gitlab.conftest import halves, is_alive

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.gitlab.conftest import Site

pytestmark = pytest.mark.slow

JOBS = ["test-data", "test-model", "test-app", "deploy"]


def test_a_pushed_version_is_released_and_the_working_copy_is_left_alone(site: Site, tmp_path: Path) -> None:
    """The retraining pushes version 1, GitLab tests it and tells the server, which releases on when the job has ended.

    Meanwhile the retraining makes version 2.
    """
    site.gitlab.jobs = JOBS
    site.gitlab.watch_pushes()
    first, second = halves(tmp_path)
    pushed = site.retrain(first)
    site.retrain(first, second, push=False)

    ended = site.gitlab.pipeline_of(pushed)
    assert ended.status == 0, ended.output
    for words in (
        "parts are as git names them",
        "the gate decides again",
        "a container answers",
        "the release of version 1 has begun",
    ):
        assert words in ended.output, ended.output
    process, commit, version = site.releases()[-1]
    assert (commit, version) == (pushed, "1")
    assert is_alive(process)
    assert (site.server.folder / "data/model/metadata.json").exists()
    assert site.retraining.data("version.txt").read_text() == "2\n"
    assert site.retraining.command("git", "status", "--short") == ""


def test_code_is_tested_and_goes_out_by_hand(site: Site) -> None:
    """Somebody pushes code to main: the pipeline runs, and the server hears nothing of it."""
    site.gitlab.jobs = []
    site.gitlab.watch_pushes()
    (site.somebody.folder / ".ci" / "run").write_text("#!/bin/sh\necho all linters and tests\n")
    site.somebody.command("git", "commit", "--quiet", "-m", "A change", "--", ".ci/run")
    before = site.releases()
    site.somebody.command("git", "pull", "--quiet", "--rebase")
    site.somebody.command("git", "push", "--quiet")

    ended = site.gitlab.pipeline_of(site.somebody.command("git", "rev-parse", "HEAD"))
    assert ended.status == 0, ended.output
    assert "all linters and tests" in ended.output
    assert "scripts/gitlab/deploy" not in ended.output
    assert site.releases() == before
