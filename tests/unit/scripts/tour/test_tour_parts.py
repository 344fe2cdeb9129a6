"""The parts of the tour: what it prints, its time limits, the log of a release, its hosts, and the end of its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from io import StringIO
from pathlib import Path

import pytest

from auto_deployment.common.errors import RunError
from auto_deployment.provenance.chain import AnswerChain
from scripts.rehearse.traffic import Visits
from scripts.simulator.errors import OutputError
from scripts.tour.checkouts import Checkouts, CommandFailedError, write_settings
from scripts.tour.narrator import WIDTH, Narrator, StepError
from scripts.tour.release_log import ReleaseLog
from scripts.tour.slack import SlackSink
from scripts.tour.tour import Tour, explaining, words_of

ROOT = Path(__file__).resolve().parents[4]
CHAIN = {
    "user": 7,
    "request": {
        "answer_id": "a",
        "request_id": "r",
        "track": "stable",
        "served_at": "2026-11-29T02:27:06.915872Z",
        "step": "known",
        "digest": "d",
        "inputs": "",
    },
    "answer": None,
    "ranking": {"ranker": "als", "step": "known", "meaning": "nearest"},
    "drivers": [{"film": f"film+{each}", "did": "rated 4", "effect": 0.1} for each in range(5)],
    "history": None,
    "version": {
        "number": 1,
        "data_creation": None,
        "trained_on": "2026-11-29T02:25:55Z",
        "model_rmse": 0.6,
        "data_md5": None,
        "model_md5": None,
        "code": "1234567890",
        "commit": None,
        "rows": {"clean_rating": {"rows": 5000, "md5": "x"}},
        "lines": None,
        "offsets": None,
    },
    "gate": None,
    "release": None,
    "tries": [],
    "missing": {"tries": "no log"},
}
ORPHAN = """
import subprocess, sys, time
from scripts.tour.family import adopt_orphans, end_children
adopt_orphans()
subprocess.run(["bash", "-c", "setsid --fork bash -c 'sleep 300 & wait'"], check=True)
child = subprocess.Popen(["sleep", "300"])
time.sleep(0.5)
print(len(open(f"/proc/self/task/{__import__('os').getpid()}/children").read().split()), flush=True)
end_children()
print(len(open(f"/proc/self/task/{__import__('os').getpid()}/children").read().split()), flush=True)
"""


@pytest.fixture
def stream() -> StringIO:
    """What a narrator prints."""
    return StringIO()


def test_a_step_has_its_number_its_place_to_look_and_its_time(stream: StringIO) -> None:
    """No line is longer than the width, and nothing is cut."""
    times = iter([0.0, 12.0])
    narrator = Narrator(stream, 9, lambda: next(times))
    with narrator.step("A step", "word " * 60, 60):
        narrator.say("x" * 200)
        narrator.look("console", "http://127.0.0.1:8083/")
    lines = stream.getvalue().splitlines()
    assert lines[1] == " 1/9 A step"
    assert max(map(len, lines)) == WIDTH
    assert stream.getvalue().count("x") == 200
    assert "      > console:       http://127.0.0.1:8083/" in lines
    assert lines[-1].strip() == "done in 12 s"
    assert [each.seconds for each in narrator.times] == [12.0]


@pytest.mark.parametrize("error", [RunError("no disk"), OutputError("no disk"), OSError("no disk"), ValueError("no disk")])
def test_a_failure_names_its_step(stream: StringIO, error: Exception) -> None:
    """Whatever the part of the project that fails. A mistake in the tour itself is no failure of a step."""
    narrator = Narrator(stream, 9)
    with narrator.step("First", "", 60):
        pass
    expected = ValueError if isinstance(error, ValueError) else StepError
    with pytest.raises(expected) as raised, narrator.step("Second", "", 60):
        raise error
    assert str(raised.value) in ("no disk", "step 2 of 9 failed (Second): no disk")
    assert signal.alarm(0) == 0, "the time limit still runs"


def test_a_step_that_takes_too_long_is_stopped(stream: StringIO) -> None:
    """Also while it waits for a command, and the command ends too."""
    narrator = Narrator(stream, 9)
    with pytest.raises(StepError, match=r"step 1 of 9 failed \(Long\): not done within 1 s"), narrator.step("Long", "", 1):
        subprocess.run(["sleep", "60"], check=False)


def test_the_log_of_a_release_is_shown_line_by_line(tmp_path: Path) -> None:
    """Whole lines only, without the version, and of a bake every fourth line without reasons that are not ready."""
    path = tmp_path / "release.log"
    log = ReleaseLog(path)
    path.write_text("13:29:49  version 7: release, by a, replacing version 6\n13:29:50  version 7: bui")
    assert list(log.new_lines()) == ["13:29:49 release, by a, replacing version 6"]
    path.write_text(
        "13:29:49  version 7: release, by a, replacing version 6\n13:29:50  version 7: build ...\n"
        + "13:30:00  version 7: 0.1 min: baking: mean 2 ms, limit 500 ms (too few)\n" * 5
        + "13:31:00  version 7: 1.0 min: pass\n"
    )
    assert list(log.new_lines()) == ["13:29:50 build ...", "13:30:00 0.1 min: baking", "13:31:00 1.0 min: pass"]
    assert not log.has_ended()
    (tmp_path / "release.log.status").write_text("0\n")
    assert log.has_ended()


def test_an_answer_is_explained_in_a_few_lines() -> None:
    """Who got it from which version, the films that drove it most, and what is not known."""
    lines = explaining(AnswerChain.model_validate(CHAIN))
    assert lines[0] == "served: to user 7 at 2026-11-29T02:27:06Z, by version 1 on the track stable"
    assert lines[1] == "trained: 2026-11-29T02:25:55Z on 5,000 rows of clean_rating"
    assert [line for line in lines if line.startswith("driven by")] == [f"driven by: film+{each}: rated 4" for each in range(3)]
    assert lines[-1] == "missing: tries: no log"


@pytest.mark.parametrize(
    ("visits", "words"),
    [
        (Visits(1234, 0, "", 12.4), "visits: 1,234 requests, 0 failed, 99 % within 12 ms"),
        (Visits(9, 2, "timeout 2", 600), "visits: 9 requests, 2 failed (timeout 2), 99 % within 600 ms"),
    ],
)
def test_visits_in_words(visits: Visits, words: str) -> None:
    """With the kinds of failures."""
    assert words_of(visits) == words


def test_slack_keeps_what_is_posted() -> None:
    """And ends."""
    slack = SlackSink()
    slack.start()
    try:
        for content in ({"text": "*hello*"}, {"attachments": [{"fallback": "movierec: it is slow", "text": "since"}]}):
            request = urllib.request.Request(slack.url, json.dumps(content).encode())
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
                assert answer.status == 200
    finally:
        slack.stop()
    assert (slack.messages, slack.alerts) == (["*hello*"], ["movierec: it is slow"])


def test_a_process_left_in_the_background_ends_with_the_others() -> None:
    """A command has left one in a session of its own; it has a child of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True, env={**os.environ}
    )
    assert done.stdout.split() == ["2", "0"]


def test_the_hosts_share_two_remotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clone has the code, and what a developer commits reaches them. The caller's settings do not."""
    monkeypatch.setenv("KAFKA_TOPIC", "another")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    hosts = Checkouts(tmp_path)
    assert {"KAFKA_TOPIC", "GIT_DIR"}.isdisjoint(hosts.environment)
    hosts.create()
    (hosts.developer / "new.txt").write_text("new\n")
    assert hosts.commit("A word", "new.txt").endswith(" A word")
    for clone in (hosts.retraining, hosts.gitlab, hosts.server):
        hosts.run("git", "pull", "--quiet", cwd=clone)
        assert hosts.last_commit(clone).endswith(" A word")
        assert (clone / "docker-compose.yml").exists()
        assert f"url = {hosts.dvc_remote}" in (clone / ".dvc" / "config.local").read_text()


def test_a_command_that_fails_shows_its_last_words(tmp_path: Path) -> None:
    """Of both outputs, with the file that has all of standard error. Allowed statuses are no failures."""
    hosts = Checkouts(tmp_path)
    hosts.logs.mkdir()
    shown: list[str] = []
    script = "echo one; echo two >&2; exit 3"
    with pytest.raises(CommandFailedError, match=r"bash -c .* ended with 3 .*bash--c\.log\):\none\ntwo") as raised:
        hosts.run("bash", "-c", script, cwd=tmp_path, show=shown.append)
    assert shown == ["one"]
    assert str(hosts.logs) in str(raised.value)
    assert hosts.run("bash", "-c", script, cwd=tmp_path, allowed=(0, 3)) == "one\n"


def test_settings_have_secrets_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    """`.env` of a host."""
    write_settings(tmp_path, {"MYSQL_PASSWORD": "secret", "KAFKA_TOPIC": "t"})
    assert (tmp_path / ".env").read_text() == "MYSQL_PASSWORD=secret\nKAFKA_TOPIC=t\n"
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


class Unstarted(Tour):
    """A tour whose first step fails."""

    steps = 1

    def require(self) -> list[str]:
        """Nothing."""
        return []

    def run(self) -> None:
        """Nothing."""

    def watch(self) -> None:
        """Nothing."""


def test_a_tour_ends_before_its_servers_have_begun(tmp_path: Path, stream: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not run cannot be asked to stop: it would wait for ever."""
    monkeypatch.setattr("scripts.tour.tour.end_children", lambda: None)  # the children of pytest are not its own
    ended = threading.Thread(target=Unstarted(tmp_path, 1, 2, Narrator(stream, 1)).close, daemon=True)
    ended.start()
    ended.join(20)
    assert not ended.is_alive()
