"""The version in service, as far as a gate may use it: its recipe, never its artifact.

An artifact may have seen the rows that a candidate is tested on. So the champion's recipe is trained again on the candidate's
training rows, and both are scored on the same test rows.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Recipe(NamedTuple):
    """What makes a model from data, and lists from a model."""

    trainer: str
    random_state: int
    ranker: str


def recipe_of(report: Mapping[str, Any] | None) -> Recipe | None:
    """The recipe in a version's report; None where there is no version."""
    if report is None:
        return None
    told = report["recipe"]
    return Recipe(str(told["trainer"]), int(told["random_state"]), str(told["ranker"]))


def report_in_service(
    in_service: Callable[[], int | None], last: int, report: Callable[[int], Mapping[str, Any] | None]
) -> Mapping[str, Any] | None:
    """The report of the version in service: `in_service` reads its number from the state of the release.

    Where no release says so yet, or that version has no report: of `last`, the version with the last tag; None without one.
    """
    try:
        serving = in_service()
    except (RunError, OSError) as error:
        log.warning("which version is in service cannot be read (%s): version %d is assumed", error, last)
        serving = None
    return (report(serving) if serving is not None else None) or report(last)
