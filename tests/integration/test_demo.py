"""`scripts/dev demo` as an operator meets it: it works, refuses, and leaves nothing behind."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.integration.demo_runner import ROOT, Demo

if TYPE_CHECKING:
    from pathlib import Path

NEW = 777_777


def test_the_sample_becomes_answers(tmp_path: Path) -> None:
    """Without input the shipped sample is served by what ranks best, every question is answered right, and nothing goes on.

    A proxy in the environment does not know the way to the demo's services.
    """
    names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy")
    demo = Demo(tmp_path / "demo", "--check", ranker="auto", **dict.fromkeys(names, "http://127.0.0.1:1"))
    ended = demo.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "all as it should be" in ended.stdout
    assert "ranked by blend, the best inside the data" in ended.stdout
    assert demo.processes() == []


def test_real_lines_become_answers(tmp_path: Path, real_ratings: Path, real_watches: Path) -> None:
    """The two real logs are served, each line accounted for."""
    ended = Demo(tmp_path / "demo", "--check", "--input", str(real_ratings), "--input", str(real_watches), ranker="auto").run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "14,986 lines: rating 10,614, watch 4,366" in ended.stdout
    assert "6 quarantined" in ended.stdout


def test_shuffled_ratings_are_refused_and_nothing_is_served(tmp_path: Path, real_ratings: Path) -> None:
    """Real lines whose ratings were shuffled among the rows: status 3, no model, no service."""
    lines = [line.rpartition("=") for line in real_ratings.read_text().splitlines()]
    stars = [line[2] for line in lines]
    random.Random(5).shuffle(stars)
    shuffled = tmp_path / "shuffled.log"
    shuffled.write_text("".join(f"{head}={star}\n" for (head, _, _), star in zip(lines, stars, strict=True)))
    demo = Demo(tmp_path / "demo", "--check", "--input", str(shuffled))
    ended = demo.run()
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "shuffled ratings" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (demo.folder / "data" / "model").exists()
    assert demo.processes() == []


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 3, "the input is empty"),
        (b"rubbish\n" * 50, 3, "50 of 50 lines were rejected"),
        (bytes(range(256)) * 300, 3, "were rejected"),
        (b"rubbish\n" * 2000, 3, "MAX_REJECT_SHARE"),
        (b"2024-10-14T15:22,70999,GET /rate/carcasses+2009=4\n" * 5, 3, "too few"),
    ],
)
def test_an_input_that_cannot_be_trained_on_is_refused_in_one_line(
    tmp_path: Path, content: bytes, status: int, message: str
) -> None:
    """Empty, rubbish, binary or too little: one line, the status of the data check."""
    path = tmp_path / "input.log"
    path.write_bytes(content)
    ended = Demo(tmp_path / "demo", "--check", "--input", str(path)).run()
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["nothing.log", "."])
def test_an_input_that_is_no_file_is_wrong_use(tmp_path: Path, name: str) -> None:
    """A file that is not there, or a folder: one line with its name, status 2."""
    ended = Demo(tmp_path / "demo", "--input", str(tmp_path / name)).run()
    assert ended.returncode == 2
    assert str(tmp_path / name) in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    """Somebody listens on the port: one line that names it, status 1, before anything is trained."""
    demo = Demo(tmp_path / "demo")
    with socket.create_server(("", demo.port)):
        ended = demo.run()
    assert ended.returncode == 1
    assert f"port {demo.port}" in ended.stderr
    assert ended.stdout == ""


def test_a_second_demo_in_the_folder_is_turned_away(tmp_path: Path) -> None:
    """Two demos in one folder: the second ends with 75 and the first goes on."""
    first = Demo(tmp_path / "demo")
    first.start()
    try:
        second = Demo(tmp_path / "demo").run()
        assert second.returncode == 75
        assert "another demo" in second.stderr
        assert first.ask("/recommend/1")[0] == 200
    finally:
        first.stop()


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    """RMSE_LIMIT that is no number: status 2 and its name, nothing is begun."""
    command = [str(ROOT / "scripts" / "dev"), "demo", "--folder", str(tmp_path / "demo")]
    ended = subprocess.run(
        command, env={**os.environ, "RMSE_LIMIT": "low"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "RMSE_LIMIT" in ended.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_no_process_and_loses_no_row(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """Ctrl-C and TERM end everything; answers given just before are in the database."""
    demo = Demo(tmp_path / "demo")
    demo.start()
    for user in range(50):
        assert demo.ask(f"/recommend/{user}")[0] == 200
    assert demo.stop(number) == status
    assert demo.processes() == []
    assert len(demo.served()) == 50


def test_a_demo_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    """After a kill -9 of the demo itself the kernel ends what it started."""
    demo = Demo(tmp_path / "demo")
    demo.start()
    demo.stop(signal.SIGKILL)
    until = time.monotonic() + 20
    while demo.processes() and time.monotonic() < until:
        time.sleep(0.1)
    assert demo.processes() == []


def test_lines_of_a_followed_file_count_at_once(tmp_path: Path) -> None:
    """A watched film leaves a known user's answers, a rating changes those of somebody new, and each answer is replayed."""
    stream = tmp_path / "stream.log"
    stream.write_text("2026-11-29T12:00:00,5,GET /rate/a+line+from+before+1999=5\n")
    demo = Demo(tmp_path / "demo", "--follow", str(stream), ranker="blend")
    demo.start()
    try:
        known = int((demo.folder / "data" / "clean_rating.csv").read_text().split("\n", 2)[1].split(",")[0])
        before, popular = (demo.ask(f"/recommend/{user}")[1].split(",") for user in (known, NEW))
        with stream.open("a") as file:
            file.write(f"2026-11-29T12:00:01,{known},GET /data/m/{before[0]}/1.mpg\n")
            file.writelines(f"2026-11-29T12:00:01,{NEW},GET /rate/{film}=5\n" for film in before[3:5])
        until, after, personal = time.monotonic() + 20, before, popular
        while before[0] in after or personal == popular:
            assert time.monotonic() < until, (demo.folder / "logs" / "fresh.log").read_text()
            time.sleep(0.1)
            after, personal = (demo.ask(f"/recommend/{user}")[1].split(",") for user in (known, NEW))
        assert len({*after}) == len({*personal}) == 20
        assert not {*personal} & {*before[3:5]}
        steps = _replay_all(demo)
        assert steps[:2] == ["known", "popular"]
        assert steps[-1] == "fresh"
    finally:
        assert demo.stop() == 130
    assert demo.processes() == []


def _replay_all(demo: Demo) -> list[str]:
    """Replay each answer to the byte, once all are in the database; their steps, oldest first."""
    until = time.monotonic() + 20
    given = sum(each["uri"].startswith("/recommend/") for each in demo.tries())
    while len(demo.served()) < given:
        assert time.monotonic() < until
        time.sleep(0.1)
    with closing(sqlite3.connect(demo.folder / "provenance.sqlite")) as database:
        answers = database.execute("select answer_id, step, inputs from reccom order by answer_id").fetchall()
    kinds = {(step, inputs): answer_id for answer_id, step, inputs in answers}
    for (step, inputs), answer_id in kinds.items():
        command = [sys.executable, "-m", "auto_deployment.provenance", "why", answer_id, "--demo", str(demo.folder)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        assert "equal to the recorded digest" in ended.stdout, (step, inputs, ended.stdout)
        assert ("New films of the user" in ended.stdout) == (step == "fresh")
    return [step for _, step, _ in answers]
