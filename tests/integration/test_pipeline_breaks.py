"""Runs that are broken off at the very moments that chance hardly finds, and what a restore then makes of the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.integration.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

LINES = (ROOT / "data" / "sample" / "movielog.log").read_bytes().splitlines(keepends=True)
CUT = len(LINES) * 2 // 3
BLOCKER = "refs/tags/model-{}/in-the-way"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A host that publishes versions."""
    return Checkout(tmp_path / "host", tmp_path)


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A file of the stream's first lines."""
    path = tmp_path / "movie.log"
    path.write_bytes(b"".join(LINES[:CUT]))
    return path


def restored(checkout: Checkout) -> str:
    """`restore`, which has to end with 0; what it said."""
    command = [*checkout.argv()[:2], "auto_deployment.restore"]
    ended = subprocess.run(
        command, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_version_that_is_committed_is_not_made_a_second_time(checkout: Checkout, stream: Path) -> None:
    """Broken off between commit and tag, with another recipe in service by now: its files stay as the commit has them."""
    checkout.command("git", "update-ref", BLOCKER.format(1), "HEAD")
    failed = checkout.run("--input", str(stream))
    assert (failed.returncode, checkout.command("git", "log", "-1", "--format=%s")) == (1, "Data and Model version update: [1]")
    checkout.command("git", "update-ref", "-d", BLOCKER.format(1))
    ended = checkout.run("--input", str(stream), TRAINER="sgd", EXPLORE_SHARE="0.5")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lists: " not in ended.stdout
    assert checkout.command("git", "status", "--short") == ""
    assert checkout.command("dvc", "status", "--quiet", "data/model.dvc") == ""
    assert checkout.command("git", "log", "-1", "--format=%s", "origin/main") == "Data and Model version update: [1]"
    assert checkout.command("git", "tag", "--list") == "model-1"


def test_a_restore_gives_up_what_no_commit_names(checkout: Checkout, stream: Path) -> None:
    """Broken off after parts and offsets were written: the tables are those of the last version, and the next run makes it."""
    assert checkout.run("--input", str(stream)).returncode == 0
    table = checkout.data("clean_rating.csv").read_bytes()
    stream.write_bytes(b"".join(LINES))
    broken_off(checkout, "--input", str(stream))
    assert checkout.data("version.txt").read_text() == "2\n"

    assert "last version" in restored(checkout)
    assert checkout.command("git", "status", "--short") == ""
    assert checkout.data("clean_rating.csv").read_bytes() == table
    ended = checkout.run("--input", str(stream))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert checkout.data("version.txt").read_text() == "2\n"
    assert checkout.command("git", "tag", "--list").split() == ["model-1", "model-2"]


def test_a_restore_leaves_what_was_not_pushed(checkout: Checkout, stream: Path) -> None:
    """Two versions that no remote has: both parts are still there afterwards, and a push brings them all."""
    assert checkout.run("--input", str(stream), "--no-push").returncode == 0
    stream.write_bytes(b"".join(LINES))
    assert checkout.run("--input", str(stream), "--no-push").returncode == 0
    whole = checkout.data("clean_rating.csv").read_bytes()
    restored(checkout)
    assert checkout.data("clean_rating.csv").read_bytes() == whole
    assert checkout.data("versioning/clean_rating_1.csv").exists()
    assert checkout.run("--input", str(stream)).returncode == 0
    checkout.command("dvc", "pull", "--quiet", "data/versioning/clean_rating_1.csv.dvc")


def broken_off(checkout: Checkout, *arguments: str) -> None:
    """A run that fails when parts, offsets and version.txt are written and no commit names them."""
    programs = checkout.folder.with_name("programs")
    programs.mkdir(exist_ok=True)
    (programs / "git").write_text(f'#!/bin/sh\ncase " $* " in *" commit "*) exit 1 ;; esac\nexec {shutil.which("git")} "$@"\n')
    (programs / "git").chmod(0o755)
    failed = checkout.run(*arguments, PATH=f"{programs}:{os.environ['PATH']}")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "step version" in failed.stderr


def test_a_refusal_after_a_break_leaves_nothing_in_the_way(checkout: Checkout, stream: Path) -> None:
    """The gate refuses what a broken-off run had let pass: the tree and the model are the last version's, the rows are kept."""
    assert checkout.run("--input", str(stream)).returncode == 0
    model = checkout.data("model/metadata.json").read_bytes()
    stream.write_bytes(b"".join(LINES))
    broken_off(checkout, "--input", str(stream))
    refused = checkout.run("--input", str(stream), RMSE_LIMIT="0.1")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert checkout.command("git", "status", "--short") == ""
    assert checkout.data("version.txt").read_text() == "1\n"
    assert checkout.data("model/metadata.json").read_bytes() == model
    ended = checkout.run("--input", str(stream))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert checkout.command("git", "tag", "--list").split() == ["model-1", "model-2"]


def test_a_version_names_the_code_that_trained_it_in_the_end(checkout: Checkout, stream: Path) -> None:
    """A run broke off, the code was mended, the next run trained again: with the mended code."""
    broken_off(checkout, "--input", str(stream))
    (checkout.folder / "mended.py").write_text("")
    checkout.command("git", "add", "mended.py")
    checkout.command("git", "commit", "--quiet", "-m", "Mended", "--", "mended.py")
    ended = checkout.run("--input", str(stream))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    metadata = json.loads(checkout.data("model/metadata.json").read_bytes())
    assert metadata["git_commit"] == checkout.command("git", "rev-parse", "HEAD^")


def test_a_version_below_a_later_commit_is_not_made_a_second_time(checkout: Checkout, stream: Path) -> None:
    """Broken off between commit and tag, and somebody committed on top of it: the next run tags the version's own commit."""
    checkout.command("git", "update-ref", BLOCKER.format(1), "HEAD")
    assert checkout.run("--input", str(stream)).returncode == 1
    checkout.command("git", "update-ref", "-d", BLOCKER.format(1))
    version = checkout.command("git", "rev-parse", "HEAD")
    checkout.command("git", "commit", "--quiet", "--allow-empty", "-m", "Code")
    ended = checkout.run("--input", str(stream), "--no-push")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert checkout.command("git", "log", "--format=%s", "-3").splitlines()[:2] == [
        "Code",
        "Data and Model version update: [1]",
    ]
    assert checkout.command("git", "rev-parse", "model-1^{commit}") == version


def test_a_collection_does_not_wait_for_a_remote(checkout: Checkout, stream: Path) -> None:
    """With the git remote away a version waits to be pushed: rows come in all the same, before the push is tried again."""
    away = checkout.remote.with_name("away.git")
    checkout.remote.rename(away)
    assert checkout.run("--input", str(stream)).returncode == 1
    rows = checkout.data("clean_rating.csv").stat().st_size
    stream.write_bytes(b"".join(LINES))
    failed = checkout.run("--collect-only", "--input", str(stream))
    assert (failed.returncode, "push" in failed.stderr) == (1, True), failed.stdout + failed.stderr
    assert checkout.data("clean_rating.csv").stat().st_size > rows
    away.rename(checkout.remote)
    assert checkout.run("--collect-only", "--input", str(stream)).returncode == 0
    assert checkout.command("git", "log", "-1", "--format=%s", "origin/main") == "Data and Model version update: [1]"
    assert checkout.run("--input", str(stream)).returncode == 0
    assert checkout.data("version.txt").read_text() == "2\n"


class Listener(BaseHTTPRequestHandler):
    """A webhook; at its first message the run that sends it dies."""

    told: ClassVar[list[str]] = []
    process: ClassVar[subprocess.Popen[bytes] | None] = None

    def do_POST(self) -> None:
        """A message."""
        self.told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if len(self.told) == 1 and self.process is not None:
            self.process.kill()
            return
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on standard error."""


def test_an_end_is_reported_even_where_the_telling_was_broken_off(checkout: Checkout, stream: Path) -> None:
    """The run is killed while it tells of its version: the next one tells of it, and makes none."""
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = {"SLACK_WEBHOOK_URL": f"http://127.0.0.1:{server.server_port}/"}
        Listener.process = checkout.start("--input", str(stream), **url)
        assert Listener.process.wait(120) == -9
        assert checkout.command("git", "tag", "--list") == "model-1"
        assert checkout.run("--input", str(stream), **url).returncode == 0
        server.shutdown()
    assert [text.count("version 1") > 0 for text in Listener.told[:2]] == [True, True]
    assert checkout.command("git", "tag", "--list") == "model-1"


def test_a_folder_that_cannot_be_written_is_a_line_and_no_traceback(checkout: Checkout) -> None:
    """Before any run begins: what, and status 1."""
    ended = checkout.run("--collect-only", DATA_DIR="/proc/none/data")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "auto_deploy: /proc/none: No such file or directory" in ended.stderr
