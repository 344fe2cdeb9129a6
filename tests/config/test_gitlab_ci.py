from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".gitlab-ci.yml"
CONFIG: dict[str, Any] = YAML(typ="safe").load(FILE)
WORDS = {"stages", "workflow", "variables", "default"}
JOBS = {name: job for name, job in CONFIG.items() if name not in WORDS and not name.startswith(".")}
HIDDEN = {name for name in CONFIG if name.startswith(".")}
DEPLOYS = ("deploy", "deploy-cluster")
SECRETS = ("SSH_PRIVATE_KEY", "SSH_KNOWN_HOSTS", "DEPLOY_HOST", "DEPLOY_USER", "DVC_SSH_KEY", "KUBECONFIG")
SCRIPTS = sorted((ROOT / "scripts" / "gitlab").iterdir())


def lines(job: dict[str, Any]) -> list[str]:
    """What a job runs, with what it has from another."""
    parent = CONFIG.get(job.get("extends", ""), {})
    merged = {**parent, **job}
    return [*merged.get("before_script", []), *merged["script"]]


def seconds(timeout: str) -> int:
    """A job's limit."""
    number, unit = timeout.split()
    return int(number) * {"minutes": 60, "hours": 3600}[unit]


def test_the_jobs_are_there() -> None:
    """Data, model, service with its image; behind them all the deploy, and the site of the docs."""
    assert set(JOBS) == {"test-data", "test-model", "test-app", "test-code", *DEPLOYS, "pages"}
    stages = {name: {**CONFIG.get(job.get("extends", ""), {}), **job}["stage"] for name, job in JOBS.items()}
    assert CONFIG["stages"] == ["test", "deploy"]
    assert stages == {name: "deploy" if name in {*DEPLOYS, "pages"} else "test" for name in JOBS}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_names_only_what_exists(name: str) -> None:
    """Each line is one command of this project that a person could run, without a shell's arts; `extends` names a template."""
    assert {JOBS[name].get("extends", ".of-the-version")} <= HIDDEN
    for line in lines(JOBS[name]):
        assert re.search(r"[|;&><`(){}]", line) is None, line
        command, *words = line.split()
        assert os.access(ROOT / command, os.X_OK), line
        if command == "scripts/dev":
            assert f"\ntask_{words[0]}() {{" in (ROOT / command).read_text(), line
        if words[:1] == ["check"]:
            assert (ROOT / "scripts" / "check" / f"{ {'app': 'image'}.get(words[1], words[1]) }.py").exists(), line


def test_files_and_folders_that_it_names_exist() -> None:
    """Of caches and tests."""
    keys = [cache["key"]["files"] for cache in CONFIG["default"]["cache"]]
    assert [name for names in keys for name in names if not (ROOT / name).exists()] == []
    assert (ROOT / CONFIG["variables"]["APP_TESTS"]).is_dir()


def test_every_wait_has_a_limit() -> None:
    """Every job ends."""
    assert all(seconds(job.get("timeout", CONFIG["default"]["timeout"])) for job in JOBS.values())


@pytest.mark.parametrize("name", DEPLOYS)
def test_the_deploy_is_given_longer_than_its_own_wait(name: str) -> None:
    """So that it can say what it waited for."""
    waits = re.findall(r"^readonly [A-Z]+_SECONDS=(\d+)", (ROOT / "scripts" / "gitlab" / name).read_text(), re.MULTILINE)
    assert waits
    assert seconds(JOBS[name].get("timeout", CONFIG["default"]["timeout"])) >= sum(map(int, waits)) + 600


@pytest.mark.parametrize("name", DEPLOYS)
def test_tests_give_way_to_a_newer_push_and_a_deploy_does_not(name: str) -> None:
    """A deploy that was begun is ended by nobody, and there is one at a time."""
    assert CONFIG["default"]["interruptible"] is True
    assert JOBS[name]["interruptible"] is False
    assert JOBS[name]["resource_group"] == "production"
    assert JOBS[name]["environment"]["name"] == "production"


@pytest.mark.parametrize(("name", "elsewhere"), [("deploy", "=="), ("deploy-cluster", "!=")])
def test_deploy_is_ruled_out_first_where_the_branch_is_not_the_protected_main(name: str, elsewhere: str) -> None:
    """Before any rule that lets it run; then the one of the two that is not meant. Only a version lets it run by itself."""
    first, second, *others = JOBS[name]["rules"]
    assert first == {
        "if": '$CI_COMMIT_REF_PROTECTED != "true" || $CI_COMMIT_BRANCH != $CI_DEFAULT_BRANCH',
        "when": "never",
    }
    assert second == {"if": f'$DEPLOY_TO {elsewhere} "cluster"', "when": "never"}
    by_itself = [rule for rule in others if rule.get("when") != "manual"]
    assert [rule["if"] for rule in by_itself] == [r"$CI_COMMIT_MESSAGE =~ /^Data and Model version update: \[\d+\]/"]


@pytest.mark.parametrize("path", [FILE, *SCRIPTS], ids=lambda path: path.name)
def test_no_secret_is_inline(path: Path) -> None:
    """Neither a key, a token nor a host: they are GitLab's variables, which this file never sets."""
    text = path.read_text()
    assert re.findall(r"PRIVATE KEY-|\bssh-(?:ed25519|rsa)\b|glpat-|\b\d{1,3}(?:\.\d{1,3}){3}\b|://[^\s/]*@", text) == []
    assert re.findall(r"(?i)\b\w*(?:password|token|secret)\w*\s*[:=]", text) == []
    for name in SECRETS:
        assert re.search(rf"^\s*(?:export |readonly )?{name}\s*[:=]", text, re.MULTILINE) is None, name
    assert {*CONFIG["variables"]} & {*SECRETS} == set()


@pytest.mark.parametrize("path", [FILE, *SCRIPTS], ids=lambda path: path.name)
def test_what_is_to_be_set_in_gitlab_stands_in_the_docs(path: Path) -> None:
    """Every variable that is neither GitLab's own nor set here."""
    page = (ROOT / "docs" / "gitlab.md").read_text()
    section = re.search(r"^## Settings in GitLab\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert section is not None, "docs/gitlab.md has no section Settings in GitLab"
    text = path.read_text()
    used = {*re.findall(r"\$\{?!?([A-Z][A-Z_]+)\b", text), *(name for name in SECRETS if name in text)}
    own = {*re.findall(r"^(?:readonly )?([A-Z_]+)=", text, re.MULTILINE), *CONFIG["variables"], "BASH_SOURCE"}
    wanted = {name for name in used - own if not name.startswith("CI_")}
    assert {name for name in wanted if f"`{name}`" not in section[1]} == set()
