from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.log_sample import MAKERS, cleaned, last_run, main, path_of, retraining_log, shape_of

if TYPE_CHECKING:
    from pathlib import Path

LINE = "2026-11-28T03:41:19.295Z INFO    20261128T034107Z auto_deployment.release.controller: version 1: bake\n"
COMMAND = (
    "2026-11-28T03:41:19.602Z DEBUG   20261128T034107Z auto_deployment.common.process: running docker top fe47626ffe08442d\n"
)


@pytest.mark.slow
def test_the_sample_of_a_retraining_is_what_one_logs_today(tmp_path: Path) -> None:
    """The same steps, loggers and messages up to numbers; that of a release is compared where the stack is tested."""
    fresh, kept = shape_of(retraining_log(tmp_path)), shape_of(path_of("retraining").read_text())
    assert fresh == kept, "make it again: scripts/dev logs retraining"


@pytest.mark.parametrize("name", MAKERS)
def test_a_sample_has_nothing_of_the_machine_that_made_it(name: str) -> None:
    """No path, host or user, and all lines are of one run."""
    text = path_of(name).read_text()
    assert last_run(text) == text
    assert set(re.findall(r"(?<![\w/.])/(\w+)/", text)) <= {"opt", "srv", "usr", "etc", "run", "tmp", "dev"}
    assert "/tmp/" not in text
    assert re.findall(r"\w+@\w+|https?://", text) == []


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("retraining", ["check", "collect", "begin", "train", "version", "push", "track"]),
        ("release", ["shadow", "take the canary out", "replace the canary", "warm up", "let the canary in", "bake"]),
    ],
)
def test_a_sample_shows_every_step_and_the_mail_at_the_end(name: str, steps: list[str]) -> None:
    """Words that a reader searches in their own log."""
    text = path_of(name).read_text()
    assert [step for step in re.findall(r"(?:step|version 1:) ([\w -]+)$", text, re.MULTILINE) if step in steps] == steps
    sent = {"retraining": "version 1 published, RMSE", "release": "version 1 promoted: deployed successfully"}
    assert f"mail: sent: movierec: {sent[name]}" in text


def test_two_logs_of_the_same_work_have_one_shape() -> None:
    """Other times, runs, ids and numbers; a command that was repeated while something started."""
    other = LINE.replace("03:41:19", "11:12:13").replace("20261128T034107Z", "20270101T000000Z").replace("n 1:", "n 2:")
    assert shape_of(LINE + COMMAND) == shape_of(other + COMMAND + COMMAND.replace("fe47626ffe08442d", "0123456789abcdef"))


@pytest.mark.parametrize(
    ("old", "new"),
    [("bake", "wait"), ("INFO   ", "WARNING"), ("controller", "bake"), (LINE, ""), (LINE, 2 * LINE), ("top", "ps")],
)
def test_other_work_has_another_shape(old: str, new: str) -> None:
    """A step, level, logger or command that is another one, missing or new."""
    log = LINE + COMMAND
    assert shape_of(log.replace(old, new)) != shape_of(log)


def test_a_line_that_is_none_of_a_log_is_an_error() -> None:
    """A sample that was edited by hand, say."""
    with pytest.raises(ValueError, match="no line of a log: 'and so on'"):
        shape_of(f"{LINE}and so on\n")


def test_only_the_last_run_is_taken() -> None:
    """A log has many."""
    before = LINE.replace("20261128T034107Z", "20261127T000000Z")
    assert last_run(before + LINE + COMMAND) == LINE + COMMAND


def test_the_longest_name_is_replaced_first() -> None:
    """One may be the beginning of another."""
    assert cleaned("/a/b /a", {"/a": "x", "/a/b": "y"}) == "y x"


def test_a_sample_that_there_is_none_of_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names those that there are."""
    with pytest.raises(SystemExit) as ended:
        main(["bake"])
    assert ended.value.code == 2
    assert "no sample bake: there are retraining, release" in capsys.readouterr().err
