"""Whom to ask a new version for: users of recorded requests, or where these are few, users of its artifact."""

from __future__ import annotations

import logging
import random
from contextlib import closing
from typing import TYPE_CHECKING

from app.model import load_serving
from app.provenance import DatabaseError
from app.provenance.archive import Archive

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

MOST, LEAST = 3000, 1000
# Nobody has such an id: who asks for it gets the popular list.
STRANGER = 2**63 - 1


def choose(database_url: str | None, model: Path, seed: int) -> tuple[list[int], str]:
    """Users, and where they are from. Raises ArtifactError where the artifact cannot be read."""
    recorded = recorded_users(database_url)
    if len(recorded) >= LEAST:
        return recorded, "recorded"
    known = load_serving(model).users
    chance = random.Random(seed)  # noqa: S311 - no secret
    return [int(known[chance.randrange(len(known))]) for _ in range(MOST)], "drawn from the artifact"


def recorded_users(database_url: str | None) -> list[int]:
    """The users of the last few thousand requests, newest first; empty where there is no database."""
    if database_url is None:
        return []
    try:
        with closing(Archive(database_url)) as archive:
            return archive.last_users(MOST)
    except DatabaseError as error:
        log.warning("recorded requests are not to be had (%s)", error)
        return []
