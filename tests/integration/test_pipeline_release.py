"""One retraining run after another, on a real git remote and a real DVC remote."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.model import load_rating, load_serving
from tests.integration.checkout import ROOT, Checkout
from tests.integration.post_office import open_post_office

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SAMPLE = ROOT / "data" / "sample" / "movielog.log"


@pytest.fixture
def halves(tmp_path: Path) -> tuple[Path, Path]:
    """The sample in two files, the earlier lines first."""
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    cut = len(lines) * 2 // 3
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    first.write_bytes(b"".join(lines[:cut]))
    second.write_bytes(b"".join(lines[cut:]))
    return first, second


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A host that publishes versions."""
    return Checkout(tmp_path / "host", tmp_path)


def published(checkout: Checkout, *inputs: Path, **environment: str) -> str:
    """A run that has to end with 0; what it printed."""
    ended = checkout.run(*(word for path in inputs for word in ("--input", str(path))), **environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def subjects(checkout: Checkout, where: str = "HEAD") -> list[str]:
    """The commits' first lines, newest first."""
    return checkout.command("git", "log", "--format=%s", where).splitlines()


def report(checkout: Checkout, number: int) -> dict[str, Any]:
    """A version's report."""
    found: dict[str, Any] = json.loads(checkout.data(f"versioning/report_{number}.json").read_bytes())
    return found


def md5(path: Path) -> str:
    """A file's checksum."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_second_clone_gets_every_row_and_the_model(checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path) -> None:
    """Two versions are pushed; another clone pulls parts and model, and builds the ratings again. GitLab's check passes."""
    published(checkout, halves[0])
    published(checkout, *halves)
    assert checkout.data("version.txt").read_text() == "2\n"
    assert subjects(checkout, "origin/main")[:2] == [f"Data and Model version update: [{number}]" for number in (2, 1)]
    assert checkout.command("git", "cat-file", "-t", "model-2") == "tag"
    assert checkout.command("git", "status", "--short") == ""

    other = Checkout(tmp_path / "other", tmp_path, first=False)
    other.command("dvc", "pull", "--quiet")
    metadata = json.loads(other.data("model/metadata.json").read_bytes())
    assert metadata["version"] == load_serving(other.data("model")).version == 2
    assert metadata["git_commit"] == checkout.command("git", "rev-parse", "HEAD~1")
    ended = subprocess.run(
        [*checkout.argv()[:2], "auto_deployment.restore"],
        cwd=other.folder,
        env=other.environment,
        check=True,
        capture_output=True,
    )
    assert b"last version" in ended.stdout
    assert other.data("clean_rating.csv").read_bytes() == checkout.data("clean_rating.csv").read_bytes()
    assert metadata["data_md5"] == metadata["data"]["clean_rating.csv"]["md5"] == md5(other.data("clean_rating.csv"))
    check = (sys.executable, "-m", "scripts.check", "data", "--pull")
    new, everything = other.command(*check), other.command(*check, "--all")
    assert "the 2 parts of version 2 have their checksums in git" in new
    assert "parts of version 1: as model-1 named them" in new
    assert "the 4 parts of versions 1 to 2 have their checksums in git" in everything
    parts = [other.data(f"versioning/clean_watch_{number}.parquet") for number in (1, 2)]
    listed = "".join(f"{md5(part)}  {part.name}\n" for part in parts)
    assert metadata["data"]["clean_watch"]["md5"] == hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()


def test_a_part_holds_only_the_rows_that_its_version_added(checkout: Checkout, halves: tuple[Path, Path]) -> None:
    """The second part is the rest of the table under the header; the first has left the working copy."""
    published(checkout, halves[0])
    first = checkout.data("versioning/clean_rating_1.csv").read_bytes()
    published(checkout, *halves)
    second = checkout.data("versioning/clean_rating_2.csv").read_bytes()
    header, _, rest = second.partition(b"\n")
    assert header == b"user_id,movie_id,rating,rated_at"
    assert first + rest == checkout.data("clean_rating.csv").read_bytes()
    assert not checkout.data("versioning/clean_rating_1.csv").exists()


def test_training_again_from_commit_and_data_gives_the_same_arrays(
    checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    """The same rows and settings, on another host: serving and rating part equal to the bit."""
    published(checkout, *halves)
    base = tmp_path / "again"
    base.mkdir()
    again = Checkout(base / "host", base)
    published(again, *halves)
    for load in (lambda folder: vars(load_serving(folder)), load_rating):
        ours, theirs = load(checkout.data("model")), load(again.data("model"))
        for name in ours:
            if isinstance(ours[name], np.ndarray):
                assert np.array_equal(ours[name], theirs[name]), name


def test_what_was_read_of_a_file_is_not_read_again(checkout: Checkout, halves: tuple[Path, Path]) -> None:
    """The same file, or the same and more: nothing new makes no version, a grown file gives its new lines."""
    published(checkout, halves[0])
    assert "nothing new" in published(checkout, halves[0])
    assert checkout.data("version.txt").read_text() == "1\n"
    with halves[0].open("ab") as file:
        file.write(halves[1].read_bytes())
    published(checkout, halves[0])
    assert report(checkout, 1)["lines"]["in"] + report(checkout, 2)["lines"]["in"] == len(SAMPLE.read_bytes().splitlines())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"RMSE_LIMIT": "0.1"}, "RMSE_LIMIT"), ({"MAX_REJECT_SHARE": "0.001"}, "MAX_REJECT_SHARE")],
)
def test_a_refused_run_versions_nothing_and_keeps_the_rows(
    checkout: Checkout, halves: tuple[Path, Path], environment: dict[str, str], expected: str
) -> None:
    """Gate or data check says no: status 3; the next run, with a looser limit, has all rows."""
    published(checkout, halves[0])
    model = md5(checkout.data("model/metadata.json"))
    refused = checkout.run("--input", str(halves[1]), **environment)
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert expected in refused.stderr
    assert checkout.data("version.txt").read_text() == "1\n"
    assert checkout.command("git", "status", "--short") == ""
    assert md5(checkout.data("model/metadata.json")) == model
    published(checkout, halves[1])
    assert report(checkout, 2)["lines"]["in"] == len(halves[1].read_bytes().splitlines())


def test_a_changed_old_rating_is_found_before_anything_is_published(checkout: Checkout, halves: tuple[Path, Path]) -> None:
    """Also where the pair table is lost: git has the MD5. Restored, the same rows make the version."""
    published(checkout, halves[0])
    model, table = md5(checkout.data("model/metadata.json")), checkout.data("clean_rating.csv")
    content = bytearray(table.read_bytes())
    content[content.index(b"\n") + 1] ^= 1  # another user's id, and no other row changes
    table.write_bytes(content)
    size = json.loads(checkout.data("versioning/offsets.json").read_bytes())["sizes"]["clean_rating"]
    for _ in range(2):
        refused = checkout.run("--input", str(halves[1]))
        assert refused.returncode == 3, refused.stdout + refused.stderr
        assert f"its first {size:,} bytes are not those of the last version: restore it with" in refused.stderr
        assert subjects(checkout)[0] == "Data and Model version update: [1]"
        assert checkout.data("version.txt").read_text() == "1\n"
        assert checkout.command("git", "status", "--short") == ""
        assert md5(checkout.data("model/metadata.json")) == model
        shutil.rmtree(checkout.data("pairs"))
    checkout.command(sys.executable, "-m", "auto_deployment.restore")
    published(checkout, halves[1])
    assert json.loads(checkout.data("model/metadata.json").read_bytes())["data_md5"] == md5(table)
    assert report(checkout, 2)["lines"]["in"] == len(halves[1].read_bytes().splitlines())


def test_a_kill_while_ratings_are_hashed_changes_nothing(checkout: Checkout, halves: tuple[Path, Path]) -> None:
    """The hash begins after the merge. The next run takes the merged table as it is, and hashes all ratings."""
    published(checkout, halves[0])
    arguments = checkout.argv("--input", str(halves[1]))
    with subprocess.Popen(
        arguments, cwd=checkout.folder, env=checkout.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert any(line.startswith("  history: ") for line in process.stdout or ())
        process.kill()
    assert process.returncode == -signal.SIGKILL
    merged = checkout.data("pairs/2/manifest.json").stat().st_mtime_ns
    published(checkout)
    assert checkout.data("version.txt").read_text() == "2\n"
    assert checkout.data("pairs/2/manifest.json").stat().st_mtime_ns == merged
    assert json.loads(checkout.data("model/metadata.json").read_bytes())["data_md5"] == md5(checkout.data("clean_rating.csv"))


def test_a_collection_of_rejects_is_refused_and_reported_and_the_next_run_is_not(checkout: Checkout, tmp_path: Path) -> None:
    """Status 3, a mail, and figures for Prometheus, also of a run that only collects; then a sound file makes a version."""
    utf16 = tmp_path / "utf16.log"
    utf16.write_bytes(SAMPLE.read_bytes()[:200_000].decode().encode("utf-16"))
    with open_post_office() as office:
        refused = checkout.run("--input", str(utf16), "--collect-only", **office.environment)
        ((subject, text),) = office.read()
    assert refused.returncode == 3, refused.stderr
    assert "refused" in subject
    assert "utf16.loglookslikeUTF-16:convertittoUTF-8" in "".join(text.split())  # a mail's lines are wrapped
    figures = (checkout.folder / "logs" / "metrics" / "pipeline.prom").read_text()
    assert "pipeline_collection_refused 1" in figures
    assert re.search(r'pipeline_rejected_lines\{reason="time"\} [1-9]', figures)
    published(checkout, SAMPLE)
    assert "pipeline_collection_refused 0" in (checkout.folder / "logs" / "metrics" / "pipeline.prom").read_text()


def test_ratings_of_another_scale_are_refused_before_and_after_the_setting_follows(
    checkout: Checkout, tmp_path: Path, halves: tuple[Path, Path]
) -> None:
    """Few ratings among many watches: the message asks for the scale. One table keeps one scale, unless its owner says so."""
    published(checkout, halves[0])
    ten = tmp_path / "ten.log"
    rated = re.compile(rb"(GET /rate/[^=]*=)([1-5])")
    ten.write_bytes(rated.sub(lambda match: match[1] + b"%d" % (2 * int(match[2])), halves[1].read_bytes()))
    refused = checkout.run("--input", str(ten), "--collect-only")
    assert refused.returncode == 3, refused.stderr
    assert "ratings lie above RATING_MAX (5): is the scale 1 to 10?" in refused.stderr
    refused = checkout.run("--input", str(ten), "--collect-only", RATING_MAX="10")
    assert refused.returncode == 2, refused.stderr
    assert 'write "scale": [1, 10] to' in refused.stderr
    record = json.loads(checkout.data("collected.json").read_bytes())
    checkout.data("collected.json").write_text(json.dumps({**record, "scale": [1, 10]}))
    assert checkout.run("--input", str(ten), "--collect-only", RATING_MAX="10").returncode == 0


def test_a_pipe_is_refused_before_anything_is_done(checkout: Checkout) -> None:
    """Status 2 and what to do: by name, and as a shell's substitution."""
    command = " ".join(checkout.argv("--collect-only", "--input"))
    for line in (f"cat {SAMPLE} | {command} /dev/stdin", f"{command} <(cat {SAMPLE})"):
        done = subprocess.run(
            ["bash", "-c", line], cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "write the lines to a file" in done.stderr
        assert "step collect" not in done.stderr


def test_shuffled_ratings_are_refused(checkout: Checkout, tmp_path: Path, real_ratings: Path) -> None:
    """Real lines whose ratings were shuffled among the rows: status 3, nothing versioned."""
    lines = [line.rpartition("=") for line in real_ratings.read_text().splitlines()]
    stars = [line[2] for line in lines]
    random.Random(2).shuffle(stars)
    shuffled = tmp_path / "shuffled.log"
    shuffled.write_text("".join(f"{head}={star}\n" for (head, _, _), star in zip(lines, stars, strict=True)))
    assert checkout.run("--input", str(shuffled)).returncode == 3
    assert checkout.data("version.txt").read_text() == "0\n"


def test_a_remote_that_is_away_is_caught_up_with(checkout: Checkout, halves: tuple[Path, Path]) -> None:
    """The git remote away, then the DVC remote: the version stands here, and the next run finishes it."""
    aside = checkout.remote.with_name("away.git")
    checkout.remote.rename(aside)
    failed = checkout.run("--input", str(halves[0]))
    assert failed.returncode == 1
    assert "push" in failed.stderr
    assert subjects(checkout)[0] == "Data and Model version update: [1]"
    assert checkout.run().returncode == 1
    aside.rename(checkout.remote)
    checkout.dvc_remote.write_text("in the way")
    failed = checkout.run("--input", str(halves[0]))
    assert failed.returncode == 1
    # DVC's own reason, not its advice for people at a terminal; the log has all of standard error.
    assert re.search(rf"dvc push: ERROR: .*{checkout.dvc_remote}", failed.stderr)
    assert "standard error: ERROR: " in (checkout.folder / "logs" / "auto_deploy.log").read_text()
    assert "Having any troubles?" not in failed.stderr
    checkout.dvc_remote.unlink()
    published(checkout, *halves)
    assert subjects(checkout, "origin/main")[:2] == [f"Data and Model version update: [{number}]" for number in (2, 1)]


def test_personal_settings_and_a_killed_dvc_stop_no_run(checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path) -> None:
    """The user's settings of git and DVC, variables of another clone, and a lock that DVC left: a version is pushed."""
    settings = "[commit]\n gpgSign = true\n[tag]\n gpgSign = true\n[core]\n autocrlf = true\n safecrlf = true\n"
    settings += f" splitIndex = true\n excludesFile = {tmp_path / 'ignored'}\n"
    (tmp_path / "ignored").write_text("data/\n*.dvc\n*.json\n")
    with (tmp_path / "gitconfig").open("a") as file:
        file.write(settings)
    (tmp_path / "dvc-settings").mkdir()
    (tmp_path / "dvc-settings" / "config").write_text(
        "[cache]\n    type = symlink\n    dir = /nowhere\n"
        "[core]\n    autostage = true\n    hardlink_lock = true\n    no_scm = true\n"
    )
    (checkout.folder / ".dvc" / "tmp").mkdir(exist_ok=True)
    (checkout.folder / ".dvc" / "tmp" / "rwlock").touch()
    elsewhere = {"GIT_DIR": str(ROOT / ".git"), "GIT_WORK_TREE": str(ROOT), "DVC_ROOT": "/nowhere"}
    done = checkout.run("--input", str(halves[0]), DVC_GLOBAL_CONFIG_DIR=str(tmp_path / "dvc-settings"), **elsewhere)
    assert done.returncode == 0, done.stderr
    assert "rwlock, which a killed git or DVC has left" in done.stderr
    assert subjects(checkout, "origin/main") == ["Data and Model version update: [1]", "The code"]
    assert not links(checkout)


def links(checkout: Checkout) -> list[Path]:
    """The symbolic links in the model's folder."""
    return [path for path in checkout.data("model").rglob("*") if path.is_symlink()]


def test_a_checkout_that_dvc_filled_with_links_gets_files(checkout: Checkout, halves: tuple[Path, Path]) -> None:
    """Links lead out of what an image's build sees: the check that a server's deploy makes first puts files there."""
    published(checkout, halves[0])
    settings = checkout.folder / ".dvc" / "config.local"
    own = settings.read_text()
    settings.write_text(f"{own}[cache]\n    type = symlink\n")
    checkout.command(sys.executable, "-m", "dvc", "checkout", "--quiet", "--relink", "data/model.dvc")
    settings.write_text(own)
    assert links(checkout)
    (checkout.folder / ".dvc" / "tmp" / "rwlock").write_text("")
    checkout.command(sys.executable, "-m", "scripts.check", "model", "--pull")
    assert not links(checkout)
    assert load_serving(checkout.data("model")).metadata["version"] == 1


def test_a_push_that_somebody_came_before_is_rebased(checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path) -> None:
    """Somebody pushed a commit first: ours goes on top of it, its tag moves along."""
    other = Checkout(tmp_path / "other", tmp_path, first=False)
    (other.folder / "README.md").write_text("more\n")
    other.command("git", "add", "README.md")
    other.command("git", "commit", "--quiet", "-m", "A word more")
    other.command("git", "push", "--quiet", "origin", "main")
    published(checkout, halves[0])
    assert subjects(checkout, "origin/main") == ["Data and Model version update: [1]", "A word more", "The code"]
    assert checkout.command("git", "rev-parse", "model-1^{commit}") == checkout.command("git", "rev-parse", "origin/main")


def test_a_second_host_that_publishes_the_same_number_is_refused(
    checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    """Two hosts make version 1: the later one fails, says why, and overwrites nothing."""
    other = Checkout(tmp_path / "other", tmp_path, first=False)
    published(checkout, halves[0])
    failed = other.run("--input", str(halves[1]))
    assert failed.returncode == 1
    assert "another host" in failed.stderr
    assert checkout.command("git", "ls-remote", "origin", "refs/heads/main").split()[0] == checkout.command(
        "git", "rev-parse", "HEAD"
    )


def test_without_push_versions_wait_here_and_go_out_together(
    checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    """`--no-push` twice, then a run without it: both versions arrive, the older model too. Earlier parts leave."""
    for path in halves:
        assert checkout.run("--input", str(path), "--no-push").returncode == 0
    assert subjects(checkout, "origin/main") == ["The code"]
    published(checkout, *halves)
    parts = {path.name for path in checkout.data("versioning").glob("clean_*") if path.suffix != ".dvc"}
    assert parts == {"clean_rating_2.csv", "clean_watch_2.parquet"}
    other = Checkout(tmp_path / "other", tmp_path, first=False)
    other.command("git", "checkout", "--quiet", "model-1")
    other.command("dvc", "pull", "--quiet")
    assert load_serving(other.data("model")).version == 1


def test_a_database_that_is_away_gets_its_rows_later(checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path) -> None:
    """The `tracking` rows of two versions, one of them missed, are there in the end, once each."""
    url = f"sqlite:///{tmp_path / 'late' / 'provenance.sqlite'}"
    published(checkout, halves[0], PROVENANCE_URL=url)
    (tmp_path / "late").mkdir()
    published(checkout, *halves, PROVENANCE_URL=url)
    with closing(sqlite3.connect(tmp_path / "late" / "provenance.sqlite")) as database:
        rows = database.execute("select version_number, data_md5 from tracking order by version_number").fetchall()
    assert [row[0] for row in rows] == [1, 2]
    assert rows[1][1] == md5(checkout.data("clean_rating.csv"))


def test_a_database_that_was_away_does_not_wait_for_the_next_version(
    checkout: Checkout, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    """The row that was missed is put by the next run, though that makes no version."""
    url = f"sqlite:///{tmp_path / 'late' / 'provenance.sqlite'}"
    published(checkout, halves[0], PROVENANCE_URL=url)
    (tmp_path / "late").mkdir()
    assert "nothing new" in published(checkout, halves[0], PROVENANCE_URL=url)
    with closing(sqlite3.connect(tmp_path / "late" / "provenance.sqlite")) as database:
        assert database.execute("select version_number from tracking").fetchall() == [(1,)]


def spoil(checkout: Checkout, what: str) -> None:
    """Bring the checkout into a state from which no version can be published."""
    table = checkout.data("clean_rating.csv")
    match what:
        case "dirt":
            checkout.folder.joinpath("notes.txt").write_text("mine\n")
        case "detached":
            checkout.command("git", "checkout", "--quiet", "--detach")
        case "no remote":
            checkout.command("git", "remote", "remove", "origin")
        case "version.txt":
            checkout.data("version.txt").write_text("two\n")
            checkout.command("git", "commit", "--quiet", "--all", "-m", "oops")
        case "version.txt set back":
            checkout.data("version.txt").write_text("0\n")
            checkout.command("git", "commit", "--quiet", "--all", "-m", "oops")
        case "record":
            checkout.data("collected.json").write_text("{")
        case "rows lost":
            table.write_bytes(table.read_bytes()[:-100])
        case "row of another width":
            lines = table.read_text().splitlines(keepends=True)
            lines[500] = lines[500].replace(",", ",,", 1)[:-2] + "\n"
            table.write_text("".join(lines))


@pytest.mark.parametrize(
    ("what", "status", "expected"),
    [
        ("dirt", 1, "notes.txt"),
        ("detached", 1, "detached HEAD"),
        ("no remote", 1, "GIT_REMOTE"),
        ("version.txt", 1, "version.txt"),
        ("version.txt set back", 1, "tag model-1"),
        ("record", 1, "collected.json"),
        ("rows lost", 1, "rows are missing"),
        ("row of another width", 3, "are not those of the last version"),
    ],
)
def test_a_checkout_that_cannot_publish_is_named_and_left_alone(
    checkout: Checkout, halves: tuple[Path, Path], what: str, status: int, expected: str
) -> None:
    """A spoilt checkout, version, record or table: the fault is named, nothing is versioned."""
    published(checkout, halves[0])
    spoil(checkout, what)
    ended = checkout.run("--input", str(halves[1]))
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert expected in ended.stderr
    assert not checkout.data("versioning/report_2.json").exists()


def test_a_second_run_is_turned_away(checkout: Checkout, halves: tuple[Path, Path]) -> None:
    """While one run goes on another ends with 75 and says who has the lock."""
    first = subprocess.Popen(
        checkout.argv("--input", str(halves[0])),
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    first.stdout.readline()
    second = checkout.run("--input", str(halves[0]))
    assert second.returncode == 75
    assert f"process {first.pid}" in second.stderr
    first.communicate()
    assert first.returncode == 0


def test_a_bad_setting_is_named_before_anything_is_done(checkout: Checkout) -> None:
    """RMSE_LIMIT that is no number, a database user without a password: status 2 and the names."""
    for environment, name in (({"RMSE_LIMIT": "low"}, "RMSE_LIMIT"), ({"MYSQL_USER": "x"}, "MYSQL_PASSWORD")):
        ended = checkout.run(**environment)
        assert ended.returncode == 2
        assert name in ended.stderr
        assert not checkout.data("collected.json").exists()
