"""What the key of the deploy job may do on the server, and what it may not; by a real ssh and a real sshd."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.integration.gitlab.conftest import halves, is_alive
from tests.integration.gitlab.sshd import USER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.gitlab.conftest import Site

pytestmark = pytest.mark.slow

JOB_SECONDS = 300.0


@pytest.fixture(scope="module")
def version(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The commit of version 1, pushed."""
    return site.retrain(halves(tmp_path_factory.mktemp("lines"))[0])


def job(site: Site, commit: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What the deploy job runs, with GitLab's variables."""
    values = {name: str(value) for name, value in site.gitlab.protected.items()}
    return subprocess.run(
        [str(site.somebody.folder / "scripts" / "gitlab" / "deploy")],
        env={**site.gitlab.environment, **values, "CI_COMMIT_SHA": commit, "CI_COMMIT_REF_PROTECTED": "true", **variables},
        capture_output=True,
        text=True,
        timeout=JOB_SECONDS,
        check=False,
    )


def ssh(site: Site, *words: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The key used by hand."""
    options = ["-o", f"UserKnownHostsFile={site.sshd.known_hosts}", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    command = ["ssh", "-F", "none", *options, "-i", str(key or site.deploying), "-p", str(site.sshd.port)]
    return subprocess.run(
        [*command, f"{USER}@127.0.0.1", *words],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def head(site: Site) -> str:
    """The commit that is checked out on the server."""
    return site.server.command("git", "rev-parse", "HEAD")


def test_the_release_outlives_job_and_connection(site: Site, version: str) -> None:
    """The job ends with 0 while the release goes on, in a session of its own, at the requested commit."""
    ended = job(site, version)
    assert ended.returncode == 0, ended.stderr
    assert "the release of version 1 has begun" in ended.stdout
    process, commit, number = site.releases()[-1]
    assert (commit, number) == (version, "1")
    assert head(site) == version
    time.sleep(1)
    assert is_alive(process)


def test_both_at_once(site: Site, version: str, tmp_path: Path) -> None:
    """The retraining runs while the server deploys: each in its own checkout, and both end well."""
    before = site.retraining.command("git", "rev-parse", "HEAD")
    with ThreadPoolExecutor() as pool:
        deploying = pool.submit(job, site, version)
        site.retrain(*halves(tmp_path), push=False)
        assert deploying.result(JOB_SECONDS).returncode == 0
    assert site.retraining.command("git", "status", "--short") == ""
    assert before != site.retraining.command("git", "rev-parse", "HEAD")
    assert head(site) == version


def test_the_job_fails_with_what_kept_the_release_from_starting(site: Site, version: str) -> None:
    """Its status and its last words stand in the job."""
    fails = site.server.folder / "logs" / "stand-in-fails"
    fails.parent.mkdir(exist_ok=True)
    fails.touch()
    try:
        ended = job(site, version)
    finally:
        fails.unlink()
    assert ended.returncode == 3
    assert "deploy: no engine answers: start Docker" in ended.stderr
    assert "did not begin the release" in ended.stderr


@pytest.mark.parametrize("words", [["-T"], ["id"], ["release"], ["release main"], ["release", "0" * 40, ";", "id"]])
def test_the_key_runs_nothing_else(site: Site, version: str, words: list[str]) -> None:
    """No shell and no program: one line that says which request is allowed, status 2."""
    assert version
    ended = ssh(site, *words)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "deploy-command: this key may only ask: release COMMIT (40 hexadecimal digits)\n"


def test_the_key_transfers_no_files(site: Site) -> None:
    """Asked for sftp, the server runs the very same command, which refuses it."""
    ended = ssh(site, "-s", "sftp")
    assert (ended.returncode, ended.stdout) == (2, "")


def test_the_key_forwards_nothing(site: Site) -> None:
    """No way into the server's network."""
    refused = ssh(site, "-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:22")
    assert refused.returncode != 0
    assert "prohibited" in refused.stderr


def test_a_commit_outside_the_protected_branch_is_refused(site: Site, version: str) -> None:
    """Pushed to another branch, it is not released, and the server's checkout stays where it was."""
    assert job(site, version).returncode == 0
    site.somebody.command("git", "switch", "--quiet", "--create", "beside")
    site.somebody.command("git", "commit", "--quiet", "--allow-empty", "-m", "Data and Model version update: [99]")
    site.somebody.command("git", "push", "--quiet", "--force", "origin", "beside")
    ended = job(site, site.somebody.command("git", "rev-parse", "HEAD"))
    assert ended.returncode == 3
    assert "is not on main" in ended.stderr
    assert head(site) == version


def test_an_older_commit_is_refused(site: Site, version: str) -> None:
    """A job that was started again after a later one does not take the server back."""
    assert job(site, version).returncode == 0
    ended = job(site, site.retraining.command("git", "rev-parse", f"{version}~1"))
    assert ended.returncode == 3
    assert "older" in ended.stderr
    assert head(site) == version


@pytest.fixture
def cut_model(site: Site, version: str) -> Iterator[None]:
    """The DVC remote has a damaged model."""
    assert version
    site.server.command("bash", "-c", "rm -rf .dvc/cache data/model")
    found = [path for path in (site.base / "dvc").rglob("*") if path.is_file() and b'"git_commit"' in path.read_bytes()]
    whole = found[0].read_bytes()
    found[0].chmod(0o644)
    found[0].write_bytes(whole.replace(b'"git_commit"', b'"git_c0mmit"'))
    yield
    found[0].write_bytes(whole)
    site.server.command("bash", "-c", "rm -rf .dvc/cache data/model")


@pytest.mark.usefixtures("cut_model")
def test_a_model_that_is_not_what_git_names_is_not_released(site: Site, version: str) -> None:
    """The server itself checks the model, before anything starts."""
    before = site.releases()
    ended = job(site, version)
    assert ended.returncode in {1, 3}
    assert "must not be released" in ended.stderr
    assert site.releases() == before


def test_a_stranger_in_the_place_of_the_server_is_not_talked_to(site: Site, tmp_path: Path) -> None:
    """Its host key is not the one in SSH_KNOWN_HOSTS: the job fails and says what to look at."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], timeout=60, check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{site.sshd.port} {(tmp_path / 'other.pub').read_text()}")
    ended = job(site, "0" * 40, SSH_KNOWN_HOSTS=str(known))
    assert ended.returncode == 1
    assert "SSH_KNOWN_HOSTS" in ended.stderr
    assert "deploy-command" not in ended.stderr


def test_the_reading_key_of_the_data_cannot_write(site: Site, version: str) -> None:
    """What GitLab's jobs have lets them fetch; a push with it fails, and nothing has changed."""
    assert version
    before = sorted(path.name for path in (site.base / "dvc").rglob("*"))
    site.somebody.command("git", "fetch", "--quiet")
    (site.somebody.folder / "data" / "extra.csv").write_text("a\n")
    site.somebody.command("dvc", "add", "--quiet", "data/extra.csv")
    ended = subprocess.run(
        ["dvc", "push", "--quiet", "data/extra.csv.dvc"],
        cwd=site.somebody.folder,
        env=site.somebody.environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert sorted(path.name for path in (site.base / "dvc").rglob("*")) == before
