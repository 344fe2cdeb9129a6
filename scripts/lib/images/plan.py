"""What is to be done for each image (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from scripts.lib.images.names import tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scripts.lib.images.recipes import Recipe

STAND_IN = "movierec.stand-in"
RECIPE = "movierec.stand-in.recipe"
PACKAGE = "movierec.stand-in.package"


class Work(Enum):
    """What is to be done for an image."""

    NOTHING = "present"
    REBUILD = "an older stand-in"
    GET = "absent"


class Pull(Enum):
    """What came of asking a registry for an image."""

    DONE = "pulled"
    UNKNOWN = "the registry does not have it"
    NO_REGISTRY = "the registry does not answer"


@dataclass(frozen=True)
class Step:
    """What is to be done for the image `name`; `recipe` is None where no stand-in can be built."""

    name: str
    work: Work
    recipe: Recipe | None


def step(name: str, labels: Mapping[str, str] | None, recipe: Recipe | None) -> Step:
    """The step for one image; `labels` are those of the image that is there under that name, None if none is.

    A stand-in that is there is kept as long as its recipe is the same, and never replaced by a pull behind anyone's back.
    """
    if labels is None:
        return Step(name, Work.GET, recipe)
    stale = STAND_IN in labels and recipe is not None and labels.get(RECIPE) != recipe.digest
    return Step(name, Work.REBUILD if stale else Work.NOTHING, recipe)


def pull_outcome(status: int | None, said: str) -> Pull:
    """What a `docker pull` means, from its exit status (None: stopped, as it was silent for too long) and what it said."""
    if status == 0:
        return Pull.DONE
    unknown = re.search(r"not found|manifest unknown|does not exist|pull access denied", said)
    return Pull.UNKNOWN if status is not None and unknown else Pull.NO_REGISTRY


def build_order(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Those that take longest come first, so that the others are built at the same time.

    Otherwise they keep the order of their names.
    """
    return sorted(recipes, key=lambda recipe: not recipe.prepares)


def differs(name: str, packaged: str) -> bool:
    """Whether a package's version is another one than the image's tag says, beyond its last place."""
    asked = re.match(r"v?(\d+\.\d+)", tag_of(name))
    has = re.match(r"(?:\d+:)?(\d+\.\d+)", packaged)
    return bool(asked and has and asked[1] != has[1])
