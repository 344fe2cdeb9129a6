"""Which jobs a push gets, as gitlab-ci-local reads the file, after holding it against GitLab's schema."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.checkout import ROOT
from tests.integration.gitlab.gitlab import gitlab_ci, predefined

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

VERSION = "Data and Model version update: [7]"
TESTS = {"test-data", "test-model", "test-app"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with nothing but the file."""
    folder = tmp_path_factory.mktemp("rules")
    shutil.copy(ROOT / ".gitlab-ci.yml", folder)
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*author, "commit", "-q", "-m", "The file"]):
        subprocess.run(["git", *words], cwd=folder, timeout=60, check=True)
    subprocess.run(
        ["git", "remote", "add", "origin", "git@gitlab.example:movierec/movierec.git"], cwd=folder, timeout=60, check=True
    )
    return folder


def jobs(checkout: Path, branch: str, message: str, **variables: str) -> dict[str, str]:
    """The jobs of a push and when they start: on_success, or manual."""
    ci_variables = predefined(checkout, branch, CI_COMMIT_MESSAGE=message, **variables)
    done = gitlab_ci(checkout, checkout.parent / "home", {}, ci_variables, "--list-json")
    assert done.returncode == 0, done.stderr
    assert "json schema validated" in done.stderr
    listed: list[dict[str, Any]] = json.loads(done.stdout[done.stdout.index("[\n  {") :])
    return {each["name"]: each["when"] for each in listed if each["when"] != "never"}


def test_a_version_is_tested_and_deployed(checkout: Path) -> None:
    """By itself, and without the tests of code that it does not bring."""
    assert jobs(checkout, "main", VERSION) == dict.fromkeys([*TESTS, "deploy"], "on_success")


def test_code_on_main_is_tested_and_waits_for_a_hand(checkout: Path) -> None:
    """All the tests, then the site of the docs; the release may be started by hand."""
    expected = dict.fromkeys([*TESTS, "test-code", "pages"], "on_success")
    assert jobs(checkout, "main", "A change") == {**expected, "deploy": "manual"}


def test_a_variable_deploys_to_a_cluster_instead(checkout: Path) -> None:
    """Never to both."""
    assert jobs(checkout, "main", VERSION, DEPLOY_TO="cluster") == dict.fromkeys([*TESTS, "deploy-cluster"], "on_success")
    by_hand = jobs(checkout, "main", "A change", DEPLOY_TO="cluster")
    assert (by_hand["deploy-cluster"], "deploy" in by_hand) == ("manual", False)


@pytest.mark.parametrize("message", [VERSION, "A change"])
@pytest.mark.parametrize("to", ["server", "cluster"])
def test_another_branch_cannot_deploy(checkout: Path, message: str, to: str) -> None:
    """Whatever its commit says."""
    assert not {"deploy", "deploy-cluster"} & {*jobs(checkout, "feature/lists", message, DEPLOY_TO=to)}


def test_a_protected_branch_other_than_main_cannot_deploy(checkout: Path) -> None:
    """Only the default branch is released."""
    assert "deploy" not in jobs(checkout, "stable", VERSION, CI_COMMIT_REF_PROTECTED="true")


def test_main_cannot_deploy_while_it_is_not_protected(checkout: Path) -> None:
    """Somebody forgot to protect it: its variables would be open to all."""
    assert "deploy" not in jobs(checkout, "main", VERSION, CI_COMMIT_REF_PROTECTED="false")


def test_a_message_that_only_quotes_the_words_is_no_version(checkout: Path) -> None:
    """They must begin it."""
    assert jobs(checkout, "main", f'Revert "{VERSION}"')["deploy"] == "manual"
