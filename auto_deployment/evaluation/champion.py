"""The version in service, as far as the gate may use it: its recipe, never its artifact.

The artifact may have been trained on the rows that a candidate is tested on. So the recipe is trained again on the candidate's
training rows, and both are scored on the same test rows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What makes a model from data, and lists from a model."""

    trainer: str
    random_state: int
    ranker: str


def recipe_in_service(in_service: Callable[[], int | None], last: int, recipe: Callable[[int], Recipe | None]) -> Recipe | None:
    """The recipe of the version in service: `in_service` reads its number from the state of the release.

    Where no release has one yet, or that version has no report: of `last`, the version with the last tag; None without one.
    """
    try:
        serving = in_service()
    except (RunError, OSError) as error:
        log.warning("which version is in service cannot be read (%s): version %d is assumed", error, last)
        serving = None
    return (recipe(serving) if serving is not None else None) or recipe(last)
