from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from auto_deployment import versioning
from auto_deployment.versioning import (
    TABLES,
    OtherReleaseError,
    Places,
    VersioningError,
    Versions,
    message,
    rebuild,
    tag,
    write_parts,
)

if TYPE_CHECKING:
    from pathlib import Path


class Repository:
    """A clone with a bare remote; commits without content."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "clone"
        self.run("init", "--quiet", "--bare", "--initial-branch=main", str(base / "remote.git"), cwd=base)
        self.run("init", "--quiet", "--initial-branch=main", str(self.folder), cwd=base)
        self.run("config", "user.name", "Test")
        self.run("config", "user.email", "test@example.org")
        self.run("remote", "add", "origin", str(base / "remote.git"))
        self.commit("The code")
        self.versions = Versions(Places(self.folder, self.folder / "data"), "origin", "main", "local")

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """What git says."""
        return subprocess.run(["git", *arguments], cwd=cwd or self.folder, capture_output=True, text=True, check=True).stdout

    def commit(self, subject: str) -> None:
        """One more, empty."""
        self.run("commit", "--quiet", "--allow-empty", "-m", subject)

    def release(self, number: int) -> None:
        """A version's commit and tag."""
        self.commit(message(number))
        self.run("tag", "--annotate", tag(number), "-m", message(number))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """With versions 1, which the remote has, and 2, which it has not."""
    made = Repository(tmp_path)
    made.release(1)
    made.run("push", "--quiet", "origin", "main", tag(1))
    made.release(2)
    return made


@pytest.mark.parametrize("foreign", ["model-card", "model-2-draft", "model-03", "model-"])
def test_a_tag_that_is_no_versions_is_nobodys_business(repository: Repository, foreign: str) -> None:
    """Here or at the remote: it is neither pushed nor stumbled over."""
    repository.run("tag", foreign)
    assert repository.versions.unpushed() == [2]
    repository.run("push", "--quiet", "origin", foreign)
    assert repository.versions.unpushed() == [2]


def test_a_tag_whose_commit_is_not_to_be_found_is_told(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the remote dropped, of a version before the commits that are looked at: what to do, and no tag is moved."""
    monkeypatch.setattr(versioning, "LATEST_COMMITS", 2)
    repository.commit("Code")
    repository.run("push", "--quiet", "--delete", "origin", tag(1))
    before = repository.run("rev-parse", tag(1))
    assert repository.versions.unpushed() == [1, 2]
    with pytest.raises(VersioningError, match=r"origin has no tag model-1, .* git push origin model-1, or git tag -d model-1"):
        repository.versions._tag_again([1, 2])
    assert repository.run("rev-parse", tag(1)) == before


def test_a_tag_follows_its_commit(repository: Repository) -> None:
    """As after a rebase; one that is where it belongs stays as it is."""
    tagged = repository.run("rev-parse", tag(2))
    repository.versions._tag_again([2])
    assert repository.run("rev-parse", tag(2)) == tagged
    repository.run("commit", "--quiet", "--amend", "--allow-empty", "--date", "2026-01-05T09:00:00Z", "--no-edit")
    repository.versions._tag_again([2])
    assert repository.run("rev-parse", f"{tag(2)}^{{commit}}") == repository.run("rev-parse", "HEAD")


def test_a_version_of_another_host_is_not_taken_for_our_own(repository: Repository) -> None:
    """It was pulled in while this host made the same number: its rows are others. Our own is known by the stream's offsets."""
    offsets = repository.versions.places.offsets
    offsets.parent.mkdir(parents=True)
    offsets.write_text(json.dumps({"version": 3, "marks": {"movielog4/0": {"offset": 70}}}))
    repository.run("add", "--all")
    repository.release(3)
    assert repository.versions.is_committed(3)
    repository.versions.check_own(3, {"movielog4/0": {"offset": 70}})
    with pytest.raises(OtherReleaseError, match=r"version 3 from another host.*restore"):
        repository.versions.check_own(3, {"movielog4/0": {"offset": 90}})


def test_the_terminals_ctrl_c_does_not_reach_git(repository: Repository) -> None:
    """It would be broken off in the midst of a push; the run itself ends at the step's boundary."""
    hook = repository.folder / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!{sys.executable}\nimport os\nopen('session', 'w').write(str(os.getsid(0)))\n")
    hook.chmod(0o755)
    repository.versions._git("push", "--quiet", "origin", "main")
    assert int((repository.folder / "session").read_text()) != os.getsid(0)


def test_a_data_folder_beyond_the_checkout_is_refused_at_the_start(repository: Repository, tmp_path: Path) -> None:
    """Its files could be in no commit: that is told before the minutes are spent."""
    versions = Versions(Places(repository.folder, tmp_path / "elsewhere"), "origin", "main", "local")
    with pytest.raises(VersioningError, match="DATA_DIR"):
        versions.check_tree(None)


@pytest.mark.parametrize("missing", ["user.name", "user.email"])
def test_a_checkout_without_an_identity_is_refused_at_the_start(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Neither configured nor derived by git: no commit could be made, which is told before the minutes are spent."""
    for name in [name for name in os.environ if name.startswith("GIT_")] + ["EMAIL"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    repository.run("config", "user.useConfigOnly", "true")
    repository.run("config", "--unset", missing)
    versions = Versions(repository.versions.places, "origin", "main", "local")
    with pytest.raises(
        VersioningError, match=r"git does not know .* git config user\.name NAME, git config user\.email ADDRESS"
    ):
        versions.check_tree(None)


def test_parts_and_tables_are_on_the_disk_before_they_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record on the disk counts their bytes: after a power cut they must be there too."""
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda number: synced.add(os.fstat(number).st_ino))
    places = Places(tmp_path, tmp_path)
    for table in TABLES:
        (tmp_path / f"{table}.csv").write_text("header\nrow\n")
    write_parts(places, 1, dict.fromkeys(TABLES, (0, 11)))
    written = [places.part(table, 1) for table in TABLES] + list(rebuild(places, [1]))
    assert all(path.read_text() == "header\nrow\n" for path in written)
    assert {path.stat().st_ino for path in written} <= synced


@pytest.fixture
def conflict(repository: Repository) -> Repository:
    """The remote has a commit that ours cannot be put on top of."""
    repository.run("branch", "theirs", tag(1))
    for where in ("theirs", "main"):
        repository.run("checkout", "--quiet", where)
        (repository.folder / "settings").write_text(where)
        repository.run("add", "settings")
        repository.run("commit", "--quiet", "-m", where)
    repository.run("push", "--quiet", "origin", "theirs:main")
    return repository


def test_a_rebase_that_cannot_be_is_taken_back_at_once(conflict: Repository) -> None:
    """The branch stays as it was, and what to do is told."""
    before = conflict.run("rev-parse", "HEAD")
    with pytest.raises(VersioningError, match=r"origin/main .*git rebase"):
        conflict.versions._rebase([2])
    assert conflict.run("rev-parse", "HEAD") == before
    assert conflict.run("symbolic-ref", "--short", "HEAD") == "main\n"


def test_somebodys_own_rebase_is_left_alone(conflict: Repository) -> None:
    """With what they have resolved so far: it is refused, not taken back."""
    conflict.run("fetch", "--quiet", "origin")
    subprocess.run(["git", "rebase", "origin/main"], cwd=conflict.folder, capture_output=True, check=False)
    (conflict.folder / "settings").write_text("resolved")
    conflict.run("add", "settings")
    with pytest.raises(VersioningError, match="rebase"):
        conflict.versions.check_tree(None)
    assert (conflict.folder / "settings").read_text() == "resolved"
    assert (conflict.folder / ".git" / "rebase-merge").exists()


def test_our_own_rebase_that_was_killed_is_taken_back(conflict: Repository) -> None:
    """It is known by the mark that is set before it."""
    before = conflict.run("rev-parse", "main")
    conflict.run("fetch", "--quiet", "origin")
    (conflict.folder / ".git" / versioning.REBASES).touch()
    subprocess.run(["git", "rebase", "origin/main"], cwd=conflict.folder, capture_output=True, check=False)
    conflict.versions._mend_after_kill()
    assert conflict.run("rev-parse", "HEAD") == before
    assert not (conflict.folder / ".git" / versioning.REBASES).exists()
