from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from app.journal import Row
from app.model import load_serving
from app.provenance import Ledger, tracking_row, with_times
from app.provenance.archive import Archive
from app.recommender import Recommender
from app.routes import digest_of
from auto_deployment.common.errors import RunError
from auto_deployment.common.templates import render
from auto_deployment.provenance import backups
from auto_deployment.provenance.__main__ import main
from auto_deployment.provenance.chain import AnswerChain
from auto_deployment.provenance.sections import sections, text
from tests.unit.app import samples

ROOT = Path(__file__).resolve().parents[4]
KNOWN = {
    "data_creation": "2026-01-02T03:04:05Z",
    "trained_on": "2026-01-02T03:04:06Z",
    "rmse": 0.75,
    "git_commit": "c" * 40,
    "data_md5": "d" * 32,
    "ranker": "popularity",
    "metrics": {
        "gate": {
            "rmse": 0.75,
            "spread": 0.02,
            "rows": "all rows",
            "passed": True,
            "checks": [
                {"name": "rmse", "value": 0.75, "threshold": 1.0, "passed": True},
                {"name": "champion", "value": 0.75, "threshold": None, "passed": True, "said": "nothing was held against it"},
            ],
        }
    },
}


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demo's folder: a model, tables, and three answers to two requests."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "demo"
    folder.mkdir()
    order = np.roll(np.arange(50, dtype=np.uint16), -10)
    model = samples.save(folder / "data" / "model", KNOWN, {"popularity_films": order})
    (folder / "data" / "clean_rating.csv").write_text(
        f"user_id,movie_id,rating,rated_at\n5,{samples.FILMS[12]},4,2026-01-01T00:00:00\n"
    )
    (folder / "data" / "open_watch.csv").write_text("user_id,movie_id,minutes,first_at,last_at\n")
    body = Recommender(load_serving(model)).recommend(samples.FULL).body
    rows = [
        Row("a" * 32, "once", samples.FULL, samples.VERSION, "stable", 1_767_312_000_000_001, "known", digest_of(body)),
        Row("b" * 32, "twice", samples.FULL, samples.VERSION, "stable", 1_767_312_000_000_002, "known", "0" * 16),
        Row(
            "c" * 32,
            "twice",
            samples.FULL,
            samples.VERSION,
            "canary",
            1_767_312_000_000_003,
            "known",
            digest_of(body),
            "seed=1",
        ),
    ]
    with closing(Ledger(f"sqlite:///{folder / 'provenance.sqlite'}")) as ledger:
        ledger.create()
        ledger.track(with_times(tracking_row(json.loads((model / "metadata.json").read_bytes()), model)))
        ledger.add_answers("stable-1/1.tsv", rows, 1)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command: status, output, errors."""
    status = main(arguments)
    output = capsys.readouterr()
    return status, output.out, output.err


def test_a_users_answers_are_listed_with_their_versions(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The columns of the join come first. Programs get all there is."""
    status, output, _ = run(capsys, "user", "5", "--demo", str(demo))
    header, *lines = output.splitlines()
    assert status == 0
    assert header.split()[:5] == ["version_number", "user_id", "data_creation", "trained_on", "model_rmse"]
    assert [line.split()[:5] for line in lines] == [["3", "5", "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z", "0.7500"]] * 3
    answers = json.loads(run(capsys, "user", "5", "--demo", str(demo), "--json")[1])
    assert [each["answer_id"][0] for each in answers] == ["a", "b", "c"]
    assert answers[0]["served_at"] == "2026-01-02T00:00:00.000001Z"


def test_an_answer_comes_again_to_the_byte(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By either id. Another answer than the recorded one gives status 1."""
    for name in ("once", "a" * 32):
        status, output, _ = run(capsys, "replay", name, "--demo", str(demo))
        assert (status, "equal to the byte" in output, "the code at hand" in output) == (0, True, True)
    status, output, _ = run(capsys, "replay", "b" * 32, "--demo", str(demo))
    assert (status, "NOT EQUAL" in output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["replay", "twice"], 2, "request twice has 2 answers"),
        (["why", "twice"], 2, "request twice has 2 answers"),
        (["replay", "nobody"], 1, "no answer and no request nobody"),
        (["replay", "c" * 32], 1, "the inputs 'seed=1' do not come from this"),
        (["user", "6"], 1, "nothing was served to user 6"),
        (["request", "nobody"], 1, "nothing was served to request nobody"),
        (["user", "five"], 2, "'five' is not a user"),
        (["user", str(2**63)], 2, "is not a user"),
        (["version", "-1"], 2, "'-1' is not a version"),
        (["version", "9"], 1, "neither the database nor git has a version 9"),
        (["backup", "no/such/folder"], 1, "no/such/folder: No such file or directory"),
        (["restore", "nothing"], 1, "nothing: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    demo: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, expected: str
) -> None:
    """With what to do; several answers are listed."""
    ended, output, errors = run(capsys, arguments[0], "--demo", str(demo), "--", *arguments[1:])
    assert ended == status
    assert expected in errors
    assert errors.count("\n") == 1
    assert (output.count("twice") == 2) == ("twice" in expected)


def test_a_missing_database_is_reported(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No setting, no database in the folder, or a database that does not answer."""
    of_demo = "Of the demo: scripts/provenance user ID --demo"
    message = f"provenance: there is no database: start the stack, or set MYSQL_USER. {of_demo}\n"
    assert run(capsys, "user", "5")[0::2] == (2, message)
    assert run(capsys, "user", "5", "--demo", str(demo / "data"))[0] == 2
    (demo / "provenance.sqlite").write_text("not a database")
    status, _, errors = run(capsys, "user", "5", "--demo", str(demo))
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("provenance: the database does not answer: ")


def test_a_closed_pipe_ends_it_quietly(demo: Path) -> None:
    """Status 0 and no traceback where the pipe is closed."""
    command = [sys.executable, "-m", "auto_deployment.provenance", "user", "5", "--demo", str(demo)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_ctrl_c_ends_it(demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With 130 and nothing more."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Archive, "find", interrupt)
    assert run(capsys, "user", "5", "--demo", str(demo)) == (130, "", "")


def test_a_backup_comes_back(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole or not at all, readable for its owner alone, never over another file."""
    path = tmp_path / "backup.gz"
    assert run(capsys, "backup", str(path), "--demo", str(demo))[:2] == (0, f"3 answers in {path}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "is there already" in run(capsys, "backup", str(path), "--demo", str(demo))[2]
    status, output, _ = run(capsys, "restore", str(path), "--demo", str(demo))
    assert (status, output) == (0, f"{path} holds 3 answers: 0 answers added, 3 were there, 0 differ here and stay\n")
    path.write_bytes(path.read_bytes()[:-20])
    status, _, errors = run(capsys, "restore", str(path), "--demo", str(demo))
    assert status == 1
    assert "take another backup" in errors


def test_a_backup_with_a_flipped_bit_is_whole_or_refused(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a bit at any place: one line reports the damaged backup."""
    path = tmp_path / "backup.gz"
    run(capsys, "backup", str(path), "--demo", str(demo))
    whole, refused = path.read_bytes(), []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert backups.check(path) == 3
        except RunError as error:
            refused.append(str(error))
    assert len(refused) > len(whole) * 0.9
    assert all("take another backup" in each for each in refused)


def test_the_chain_is_printed_as_text_and_as_a_page(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything from the answer to the gate. Missing links are reported."""
    log = demo / "nginx" / "logs"
    log.mkdir(parents=True)
    (log / "tries.log").write_text("")
    status, output, _ = run(capsys, "why", "once", "--demo", str(demo), "--html", str(tmp_path / "why.html"))
    assert status == 0
    for words in (
        "Request",
        "equal to the recorded digest",
        samples.FILMS[12],
        "number 3 of the popular films",
        "0.7500",
        "passed",
    ):
        assert words in output
    for words in ("no evidence of a release", "no line of this request", "git has no report"):
        assert words in output
    html = (tmp_path / "why.html").read_text()
    assert all(each in html for each in (samples.FILMS[12], "equal to the recorded digest", "a" * 32))


class Tags(HTMLParser):
    """The tags and attributes of a page, and its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "onload", "style")]


def test_a_page_needs_nothing_and_runs_nothing(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No script, link or picture; text that looks like a tag stays text, wherever it comes from."""
    chain = json.loads(run(capsys, "why", "once", "--demo", str(demo), "--json")[1])
    hostile = _replaced(copy.deepcopy(chain), "<script src='http://x'>&")
    for each in (chain_of(chain), chain_of(hostile)):
        parsed = Tags()
        parsed.feed(render("provenance/answer.html", chain=each, sections=sections(each)))
        assert parsed.tags <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "th", "td"}
        assert parsed.links == []


def test_a_chain_with_gaps_is_printed(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Model and tables are gone: the reasons take the place of the values."""
    for path in sorted((demo / "data").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    status, output, _ = run(capsys, "why", "once", "--demo", str(demo), "--json")
    chain = json.loads(output)
    assert status == 0
    assert set(chain["missing"]) == {"answer", "history", "model", "drivers", "tries"}
    assert "missing" in "\n".join(text(chain_of(chain)))
    assert all(section.lines for section in sections(chain_of(chain)))


def chain_of(printed: dict[str, Any]) -> AnswerChain:
    """The chain that `--json` printed."""
    return TypeAdapter(AnswerChain).validate_python(printed)


def _replaced(value: Any, by: str) -> Any:
    """A copy with every text replaced. Keys stay."""
    if isinstance(value, dict):
        return {name: _replaced(each, by) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, by) for each in value]
    return by if isinstance(value, str) else value
