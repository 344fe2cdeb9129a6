from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.process import CommandError
from auto_deployment.versioning import repository as versioning_repository
from auto_deployment.versioning.repository import (
    RATINGS,
    OtherHostError,
    Places,
    VersioningError,
    Versions,
    may_write,
    message,
    rebuild,
    remove_stale_locks,
    tag_of,
    write_rating_part,
)

if TYPE_CHECKING:
    from pathlib import Path


class Repository:
    """A clone with a bare remote; commits without content."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "clone"
        base.mkdir(exist_ok=True)
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
        self.run("tag", "--annotate", tag_of(number), "-m", message(number))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """With versions 1, which the remote has, and 2, which it has not."""
    made = Repository(tmp_path)
    made.release(1)
    made.run("push", "--quiet", "origin", "main", tag_of(1))
    made.release(2)
    return made


@pytest.mark.parametrize("foreign", ["model-card", "model-2-draft", "model-03", "model-"])
def test_a_tag_that_is_no_versions_is_nobodys_business(repository: Repository, foreign: str) -> None:
    """Here or at the remote: it is neither pushed nor stumbled over."""
    repository.run("tag", foreign)
    assert repository.versions.unpushed() == [2]
    repository.run("push", "--quiet", "origin", foreign)
    assert repository.versions.unpushed() == [2]


def test_a_tag_whose_commit_is_not_to_be_found_is_reported(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the remote dropped, of a version before the commits that are looked at: what to do, and no tag is moved."""
    monkeypatch.setattr(versioning_repository, "LATEST_COMMITS", 2)
    repository.commit("Code")
    repository.run("push", "--quiet", "--delete", "origin", tag_of(1))
    before = repository.run("rev-parse", tag_of(1))
    assert repository.versions.unpushed() == [1, 2]
    with pytest.raises(VersioningError, match=r"origin has no tag model-1, .* git push origin model-1, or git tag -d model-1"):
        repository.versions._tag_again([1, 2])
    assert repository.run("rev-parse", tag_of(1)) == before


def test_a_tag_follows_its_commit(repository: Repository) -> None:
    """As after a rebase; one that is where it belongs stays as it is."""
    tagged = repository.run("rev-parse", tag_of(2))
    repository.versions._tag_again([2])
    assert repository.run("rev-parse", tag_of(2)) == tagged
    repository.run("commit", "--quiet", "--amend", "--allow-empty", "--date", "2026-01-05T09:00:00Z", "--no-edit")
    repository.versions._tag_again([2])
    assert repository.run("rev-parse", f"{tag_of(2)}^{{commit}}") == repository.run("rev-parse", "HEAD")


def test_a_version_of_another_host_is_not_taken_for_our_own(repository: Repository) -> None:
    """It was pulled in while this host made the same number: its rows are others. Our own is known by the stream's offsets."""
    offsets = repository.versions.places.offsets
    offsets.parent.mkdir(parents=True)
    offsets.write_text(json.dumps({"version": 3, "marks": {"movielog4/0": {"offset": 70}}}))
    repository.run("add", "--all")
    repository.release(3)
    assert repository.versions.is_committed(3)
    repository.versions.check_own(3, {"movielog4/0": {"offset": 70}})
    with pytest.raises(OtherHostError, match=r"version 3 from another host.*restore"):
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


PERSONAL = """
[commit]
    gpgSign = true
    template = /nowhere/template
    cleanup = strip
[tag]
    gpgSign = true
    forceSignAnnotated = true
[push]
    gpgSign = true
    followTags = true
    pushOption = ci.skip
[core]
    autocrlf = true
    safecrlf = true
    commentChar = D
    splitIndex = true
    fsmonitor = /nowhere/fsmonitor
[fetch]
    prune = true
    pruneTags = true
[gpg]
    program = /nowhere/gpg
[log]
    showSignature = true
[color]
    ui = always
[column]
    ui = always
[status]
    relativePaths = false
[diff]
    orderFile = /nowhere
[rebase]
    backend = apply
[apply]
    whitespace = error
[i18n]
    commitEncoding = UTF-16
    logOutputEncoding = UTF-16
"""


def test_personal_settings_of_git_reach_no_unattended_commit(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signing, line ends, hooks and the like: version 3 is committed, tagged, rebased on somebody's commit and pushed."""
    (tmp_path / "gitconfig").write_text(PERSONAL)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for name in ("prepare-commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-rewrite"):
        hook(repository, name, "exit 1")
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "--quiet", str(tmp_path / "remote.git"), str(other)], check=True)
    identity = ("user.name=O", "user.email=o@example.org")
    plain = ("commit.gpgSign=false", "core.fsmonitor=", "i18n.commitEncoding=UTF-8", "diff.orderFile=/dev/null")
    settings = [word for setting in (*identity, *plain) for word in ("-c", setting)]
    repository.run(*settings, "-C", str(other), "commit", "--quiet", "--allow-empty", "-m", "Code")
    repository.run("-C", str(other), "-c", "push.gpgSign=false", "-c", "push.pushOption=", "push", "--quiet", "origin", "main")
    versions = Versions(repository.versions.places, "origin", "main", "local")
    (repository.folder / "data").mkdir()
    (repository.folder / "data" / "version.txt").write_text("3 \n")
    versions._git("add", "data/version.txt")
    versions._git("commit", "--quiet", "--no-verify", "-m", message(3), "--", "data/version.txt")
    versions._git("tag", "--annotate", tag_of(3), "-m", message(3))
    assert versions.unpushed() == [2, 3]
    versions._rebase([2, 3])
    versions._tag_again([2, 3])
    versions._git("push", "--quiet", "--atomic", "origin", "main", tag_of(2), tag_of(3))
    assert versions.unpushed() == []
    subjects = versions._git("log", "--format=%s").splitlines()
    assert subjects == [message(3), message(2), "Code", message(1), "The code"]
    assert versions._git("show", "HEAD:data/version.txt") == "3 "
    assert not list((repository.folder / ".git").glob("sharedindex.*"))  # DVC could not read it
    with pytest.raises(CommandError, match=r"^git show HEAD:nothing: fatal: "):
        versions._git("show", "HEAD:nothing")


def hook(repository: Repository, name: str, text: str) -> None:
    """A hook of the clone, as a shell script."""
    path = repository.folder / ".git" / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("hooks_at", [".git/hooks", "elsewhere"])
@pytest.mark.parametrize("text", ["echo '{}' >&2", "echo '{}'", "seq 1000 >&2; echo '{}' >&2"])
def test_the_words_of_a_hook_that_stops_a_push_are_in_the_message(
    repository: Repository, tmp_path: Path, hooks_at: str, text: str
) -> None:
    """Git itself only says that it failed to push. A hook says last why it refuses, after the output of its own checks."""
    hook(repository, "pre-push", text.format("To push on a Friday, ask Ann") + "; exit 2")
    if hooks_at != ".git/hooks":
        (repository.folder / ".git" / "hooks").rename(tmp_path / hooks_at)
        repository.run("config", "core.hooksPath", str(tmp_path / hooks_at))
    with pytest.raises(CommandError, match=r"failed to push some refs.*; To push on a Friday, ask Ann$") as raised:
        repository.versions._git("push", "--quiet", "origin", "main")
    assert len(raised.value.words) < 1000


def test_a_server_that_declines_a_push_is_asked_once(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hook's words are in the message; they are not taken for git's own, which say that somebody was first."""
    (tmp_path / "remote.git" / "hooks").mkdir(exist_ok=True)
    refuse = tmp_path / "remote.git" / "hooks" / "pre-receive"
    refuse.write_text("#!/bin/sh\necho 'fetch first: [rejected] by the rule non-fast-forward' >&2; exit 1\n")
    refuse.chmod(0o755)
    monkeypatch.setattr(repository.versions, "_run_dvc", lambda *_, **__: "")
    with pytest.raises(CommandError, match=r"pre-receive hook declined.*remote: fetch first: \[rejected\] by the rule"):
        repository.versions.push()


def test_a_remote_that_is_never_free_is_named_with_its_words(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that a killed git left there looks as if somebody else pushed at each try."""
    (tmp_path / "remote.git" / "refs" / "heads" / "main.lock").touch()
    monkeypatch.setattr(repository.versions, "_run_dvc", lambda *_, **__: "")
    with pytest.raises(VersioningError, match=r"rejected the push 5 times \(.*main\.lock': File exists"):
        repository.versions.push()


@pytest.mark.parametrize("name", ["data/version.txt", "scripts/run"])
def test_line_ends_stay_as_git_has_them(repository: Repository, root: Path, name: str) -> None:
    """A clone whose owner asks git for CRLF: bash would not run a script, and checksums would differ."""
    path = repository.folder / name
    path.parent.mkdir()
    path.write_bytes(b"7\n")
    (repository.folder / ".gitattributes").write_bytes((root / ".gitattributes").read_bytes())
    repository.run("config", "core.autocrlf", "true")
    repository.run("-c", "core.safecrlf=true", "add", "--all")
    repository.commit("Files")
    path.unlink()
    repository.versions._git("checkout", "--", name)
    assert path.read_bytes() == b"7\n"


def test_variables_that_name_another_repository_are_dropped(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a hook of another clone, or a shell in which somebody works on one, has them."""
    other = Repository(tmp_path / "elsewhere")
    names = {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/objects"}
    for name, path in names.items():
        monkeypatch.setenv(name, str(other.folder / path))
    versions = Versions(repository.versions.places, "origin", "main", "local")
    assert versions.is_committed(2)
    assert versions.unpushed() == [2]


def test_settings_that_the_environment_hands_to_git_stay(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitLab's runner and others give a login to git like this."""
    for name, value in {"COUNT": "1", "KEY_0": "http.extraHeader", "VALUE_0": "Authorization: none"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    versions = Versions(repository.versions.places, "origin", "main", "local")
    assert versions._git("config", "http.extraHeader") == "Authorization: none"
    assert versions._git("config", "commit.gpgSign") == "false"


REUSED_PID = json.dumps({"write": {"/data/model": {"pid": 1, "cmd": "dvc add"}}, "read": {}})
TABLES_LEFT = {
    "empty": b"",
    "torn": b'{"write": {"/data',
    "reused": REUSED_PID.encode(),
    "list": b"[]",
    "number": b"7",
    "form": b'{"write": [], "read": {}}',
    "zeros": bytes(40),
    "bytes": b"\xff\xfe",
}


@pytest.mark.parametrize("left", TABLES_LEFT)
def test_a_table_of_locks_that_a_killed_dvc_left_is_removed(repository: Repository, left: str) -> None:
    """Damaged, or with the number of a process that is another one by now: DVC would refuse every command."""
    path = rwlock(repository, TABLES_LEFT[left])
    remove_stale_locks(repository.folder)
    assert not path.exists()


@pytest.mark.parametrize("at_rest", ["{}", '{"read": {}}', '{"write": {}}', '{"write": {}, "read": {}}'])
def test_what_is_no_stale_lock_of_dvc_stays(repository: Repository, at_rest: str) -> None:
    """The table at rest, and the file of a lock that the kernel frees. A lock that is a hard link is removed."""
    table = rwlock(repository, at_rest.encode())
    kept, linked = table.with_name("rwlock.lock"), table.with_name("lock")
    kept.touch()
    linked.touch()
    table.with_name("0b28.lock").hardlink_to(linked)
    remove_stale_locks(repository.folder)
    assert sorted(path.name for path in table.parent.iterdir()) == ["rwlock", "rwlock.lock"]


def rwlock(repository: Repository, table: bytes) -> Path:
    """DVC's table of locks."""
    path = repository.folder / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    path.write_bytes(table)
    return path


def working_git(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """A git that works in the folder until its standard input ends."""
    command = ["git", *options, "cat-file", "--batch-check"]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"HEAD\n")
    process.stdin.flush()
    assert b" commit " in process.stdout.readline()
    return process


def test_locks_of_a_git_that_is_at_work_stay(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named; when it has ended, its locks are a killed one's. A git in another folder does not matter."""
    monkeypatch.setattr(versioning_repository, "LOCK_SECONDS", 0.3)
    table, git = rwlock(repository, REUSED_PID.encode()), repository.folder / ".git"
    locks = [git / "index.lock", git / "refs" / "tags" / "model-3.lock"]
    for lock in locks:
        lock.touch()
    with working_git(repository.folder.parent / "remote.git"), working_git(repository.folder / ".git") as at_work:
        with pytest.raises(
            VersioningError, match=rf"index\.lock: git cat-file --batch-check \(process {at_work.pid}\) is at work"
        ):
            remove_stale_locks(repository.folder, git)
        assert all(lock.exists() for lock in (*locks, table))
        at_work.communicate()
        remove_stale_locks(repository.folder, git)
    assert not any(lock.exists() for lock in (*locks, table))


def test_locks_of_our_own_program_around_dvc_stay(repository: Repository) -> None:
    """It removes models and pushes earlier versions, and holds DVC's locks meanwhile."""
    program = [sys.executable, "-c", "print('', flush=True); input()", str(versioning_repository.DVC_STORE), "remove"]
    with subprocess.Popen(program, cwd=repository.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as at_work:
        assert at_work.stdout is not None
        at_work.stdout.readline()  # the kernel shows its arguments by now
        found = versioning_repository.users_of(repository.folder)
        at_work.communicate(b"\n")
    assert [f"(process {at_work.pid})" in each for each in found] == [True]


@pytest.mark.parametrize("options", [(), ("--git-dir", "{}/.git")], ids=["worktree", "by name"])
def test_a_git_that_uses_this_clone_from_elsewhere_counts(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """From a linked worktree, which shares the clone's refs, or from a folder that has nothing to do with it."""
    monkeypatch.setattr(versioning_repository, "LOCK_SECONDS", 0.3)
    repository.run("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    lock = repository.folder / ".git" / "packed-refs.lock"
    lock.touch()
    named = [option.format(repository.folder) for option in options]
    with working_git(tmp_path / ("" if options else "linked"), *named) as at_work:
        for folder in ("clone/.git", "clone/.git/worktrees/linked"):
            with pytest.raises(VersioningError, match=rf"packed-refs\.lock: git .*process {at_work.pid}\) is at work"):
                remove_stale_locks(repository.folder, tmp_path / folder)
        at_work.communicate()
    remove_stale_locks(tmp_path / "linked", tmp_path / "clone/.git/worktrees/linked")
    assert not lock.exists()


def test_a_process_of_another_user_counts_where_that_user_may_write(tmp_path: Path) -> None:
    """Its folder is hidden: the server of a forge on the same machine, which runs git for good, holds no lock here."""
    owner = tmp_path.stat().st_uid
    for mode, strangers in {0o755: False, 0o775: True, 0o777: True}.items():
        tmp_path.chmod(mode)
        assert [may_write(user, tmp_path) for user in (0, owner, 54_321)] == [True, True, strangers]


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
    (tmp_path / f"{RATINGS}.csv").write_text("header\nrow\n")
    write_rating_part(places, 1, 0, 11)
    written = [places.part(RATINGS, 1), rebuild(places, [1])]
    assert all(path.read_text() == "header\nrow\n" for path in written)
    assert {path.stat().st_ino for path in written} <= synced


@pytest.fixture
def conflict(repository: Repository) -> Repository:
    """The remote has a commit that ours cannot be put on top of."""
    repository.run("branch", "theirs", tag_of(1))
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
    (conflict.folder / ".git" / versioning_repository.REBASES).touch()
    subprocess.run(["git", "rebase", "origin/main"], cwd=conflict.folder, capture_output=True, check=False)
    conflict.versions._mend_after_kill()
    assert conflict.run("rev-parse", "HEAD") == before
    assert not (conflict.folder / ".git" / versioning_repository.REBASES).exists()
