from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auto_deployment.pipeline.model_retention import Facts, judge, remove_unneeded
from auto_deployment.versioning.models import Model, References

if TYPE_CHECKING:
    from auto_deployment.pipeline.model_retention import ModelRetention

MODELS = [Model(number, f"{number}.dir", 10) for number in (1, 2, 3, 4)]
FILES = {f"{number}.dir": {f"own {number}", "shared", f"pair {number // 2}"} for number in (1, 2, 3, 4)}
PUSHED = {1, 2, 3, 4}


NONE = Facts(set(), set(), References(set(), {}, PUSHED))


def going(facts: Facts = NONE, keep: int = 1) -> dict[int, set[str]]:
    """The objects of the models that may go."""
    judged, _ = judge(MODELS, FILES, keep, facts)
    return {each.model.number: set(each.objects) for each in judged if not each.reasons}


def test_models_before_the_last_ones_go_without_what_they_share() -> None:
    """Version 3 has a file of version 2 too: it goes only with the last one of both."""
    assert going(keep=2) == {1: {"1.dir", "own 1", "pair 0"}, 2: {"2.dir", "own 2"}}
    assert going(keep=4) == {}


@pytest.mark.parametrize(
    "facts",
    [
        NONE._replace(answered={2}),
        NONE._replace(released={2}),
        NONE._replace(references=References({"2.dir"}, {"2.dir": "branch x"}, PUSHED)),
        NONE._replace(references=References(set(), {}, PUSHED - {2})),
    ],
)
def test_a_model_that_somebody_needs_stays(facts: Facts) -> None:
    """An answer, a release, a branch, or a version whose tag still waits."""
    assert set(going(facts)) == {1, 3}


def test_a_file_that_is_also_a_part_stays() -> None:
    """Parts never go, whatever models come to have their bytes."""
    assert going(NONE._replace(references=References({"own 1"}, {}, PUSHED)))[1] == {"1.dir", "pair 0"}


def test_the_files_of_a_folder_that_a_branch_names_stay() -> None:
    """Whatever the folder is: it need not be a model."""
    facts = NONE._replace(references=References({"other.dir"}, {}, PUSHED))
    _, kept = judge(MODELS, {**FILES, "other.dir": {"own 1"}}, 1, facts)
    assert kept == {"other.dir", "own 1", "4.dir", *FILES["4.dir"]}


def test_a_model_that_went_before_is_not_listed() -> None:
    """And it still counts among the last ones."""
    files = {name: each for name, each in FILES.items() if name != "3.dir"}
    judged, _ = judge(MODELS, files, 2, NONE)
    assert [(each.model.number, bool(each.reasons)) for each in judged] == [(1, False), (2, False), (4, True)]


class Broken:
    """A retention that fails in a way that nobody foresaw."""

    def judge(self) -> None:
        """Fail."""
        raise ZeroDivisionError


def test_no_failure_of_the_retention_fails_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """The log has it with its traceback."""
    broken: ModelRetention = Broken()  # type: ignore[assignment]
    assert remove_unneeded(broken, lambda: True) == []
    assert "ZeroDivisionError" in caplog.text
