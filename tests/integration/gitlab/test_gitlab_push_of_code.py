"""A push of code: its pipeline runs, and no release begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.gitlab.conftest import Site

pytestmark = pytest.mark.slow


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
