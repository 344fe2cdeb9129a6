from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.model import ServingModel
from auto_deployment.common.errors import RefusedError
from auto_deployment.evaluation.evaluate import Errors, Evaluation
from auto_deployment.evaluation.gate import decide
from scripts.check.model import REQUIRED, answers, decide_again, facts, gate

if TYPE_CHECKING:
    from collections.abc import Sequence

EMPTY = np.iinfo(np.uint16).max
FIVE = (0.60, 0.61, 0.62, 0.61, 0.60)


def version(**changed: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and report of a version that passed. `changed` replaces keys of the metadata."""
    model = Errors(FIVE, FIVE, FIVE)
    noise = tuple(tuple(error + more for error in FIVE) for more in (0.40, 0.41))
    evaluation = Evaluation(
        rows=5000,
        test_rows=(500,) * 5,
        known_rows=(400,) * 5,
        model=model,
        bias=model,
        shuffled=noise,
        ranking={},
        absent_users=0,
    )
    decision = decide(evaluation, 1.0, (1, 5))
    metadata = {
        **dict.fromkeys(REQUIRED, "same"),
        "version": 4,
        "scale": [1, 5],
        "rmse": decision.rmse,
        "metrics": {"evaluation": evaluation.model_dump(), "gate": decision.model_dump()},
        **changed,
    }
    report = {"version": 4, "trained_on": "same", "git_commit": "same", "gate": decision.model_dump()}
    return metadata, report


def test_matching_files_pass() -> None:
    """Metadata, report and version.txt."""
    assert facts(*version(), 4) == []


def test_different_files_are_named() -> None:
    """The messages have the values of both files."""
    metadata, report = version(git_commit="other")
    del metadata["packages"]
    assert facts(metadata, report, 5) == [
        "metadata.json lacks packages",
        "the model is version 4, version.txt says 5",
        "git_commit: report_5.json says same, the model other",
    ]


def test_the_gate_decides_as_at_the_training() -> None:
    """On the metrics in the metadata."""
    metadata, report = version()
    decision = decide_again(metadata, 1.0, "refuse")
    assert decision.passed
    assert decision.model_dump() == metadata["metrics"]["gate"]
    assert gate(metadata, report, decision) == []


def test_a_looser_limit_at_the_training_is_found() -> None:
    """RMSE_LIMIT is lower in this checkout: the gate refuses."""
    metadata, report = version()
    wrong = gate(metadata, report, decide_again(metadata, 0.5, "refuse"))
    assert len(wrong) == 1
    assert "is not below the limit 0.5" in wrong[0]


def test_a_changed_rmse_is_found() -> None:
    """RMSE is stored in three places. Each must be what the metrics give."""
    metadata, report = version(rmse=0.1)
    report["gate"]["rmse"] = 0.2
    wrong = gate(metadata, report, decide_again(metadata, 1.0, "refuse"))
    assert [line.split(",")[0] for line in wrong] == ["RMSE 0.1 in metadata.json", "RMSE 0.2 in the report"]


@pytest.mark.parametrize("metrics", [{}, {"evaluation": {}}, {"evaluation": {"model": 1}}, {"evaluation": None}])
def test_unusable_metrics_are_refused(metrics: object) -> None:
    """The message says what to do, without a traceback."""
    metadata, _ = version(metrics=metrics)
    with pytest.raises(RefusedError, match="no metrics that the gate can use"):
        decide_again(metadata, 1.0, "refuse")


def model(*rows: Sequence[int], cold: Sequence[int] = (0,)) -> ServingModel:
    """Users 0, 1, ... with these lists, over three films."""
    top = np.full((len(rows), 40), EMPTY, dtype=np.uint16)
    lists = np.full((1, 40), EMPTY, dtype=np.uint16)
    for at, row in enumerate(rows):
        top[at, : len(row)] = row
    lists[0, : len(cold)] = cold
    return ServingModel({"version": 4}, np.arange(len(rows)), top, lists, ("a", "b", "c"))


def test_sound_lists_pass() -> None:
    """Some films, each once. A user who watched all films gets the popular ones."""
    assert answers(model([0, 1, 2], [2], [])) == []


def test_unsound_lists_are_named() -> None:
    """A film twice, and an empty popular list, which new users would get."""
    assert answers(model([0, 1, 0])) == ["user 0 would get 'a,b,a'"]
    assert any("popular" in line for line in answers(model([0], cold=())))
