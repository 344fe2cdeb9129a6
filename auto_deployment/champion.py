"""The version in service, as far as a gate may use it: its recipe, never its artifact.

An artifact may have seen the rows that a candidate is tested on. So the champion's recipe is trained again on the candidate's
training rows, and both are scored on the same test rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Recipe(NamedTuple):
    """What makes a model from data."""

    trainer: str
    random_state: int


def recipe_of(report: Mapping[str, Any] | None) -> Recipe | None:
    """The recipe in a version's report; None where there is no version."""
    if report is None:
        return None
    told = report["recipe"]
    return Recipe(str(told["trainer"]), int(told["random_state"]))
