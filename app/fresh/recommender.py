"""Answers that follow what a user has watched and rated since the version was trained."""

from __future__ import annotations

import hashlib
import logging
import re
import struct
from typing import TYPE_CHECKING, Protocol

from app.fresh.list_model import ListModel, read_source
from app.fresh.overlay import unpack_served
from app.recommender import SERVED, Answer, Recommender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.model import ServingModel

log = logging.getLogger(__name__)

STEP = "fresh"
INPUTS = re.compile(r"struck:([1-9a-f][0-9a-f]{0,9})|fresh:([0-9a-f]{16}):(0|[1-9a-f][0-9a-f]{0,9})")


class Records(Protocol):
    """The interface of `app.fresh.overlay.Reader`."""

    def find(self, user: int) -> bytes | None:
        """A user's record; None where nothing is new of the user."""
        ...


def list_id(source: str) -> str:
    """The id of a computed list: a digest of what it was computed from, 16 hexadecimal digits."""
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()


class FreshRecommender:
    """Strikes the films that a user has begun or rated since, and serves the user's computed list where there is one.

    Users without new events get the answer of `inner`. `list_model` opens the version's item weights, for replays only.
    """

    def __init__(
        self, inner: Recommender, model: ServingModel, records: Records | None, list_model: Callable[[], ListModel]
    ) -> None:
        self.version = inner.version
        self._inner = inner
        self._model = model
        self._records = records
        self._list_model = list_model

    def recommend(self, user: int) -> Answer:
        """The answer for `user`, any whole number from 0 to below 2^63."""
        record = None if self._records is None else self._records.find(user)
        if record is None:
            return self._inner.recommend(user)
        try:
            return self._fresh(user, *unpack_served(record))
        except (struct.error, UnicodeDecodeError, IndexError):
            log.warning("the record of user %d is damaged: the answer is that of the version", user)
            return self._inner.replay(user, "")

    def _fresh(self, user: int, struck: Sequence[int], listed: Sequence[int], source: str) -> Answer:
        if listed:
            mask = _mask(listed, struck)
            return self._served(listed, mask, STEP, f"fresh:{list_id(source)}:{mask:x}", source)
        row = self._row(user)
        mask = _mask(row, struck)
        # Never exploring: a film outside of the list may be a struck one.
        return self._struck(user, row, mask) if mask else self._inner.replay(user, "")

    def replay(self, user: int, inputs: str, source: str = "") -> Answer:
        """The same answer again. A computed list needs its `source`, see `source_text`. Raises ValueError, ArtifactError."""
        match = INPUTS.fullmatch(inputs)
        struck, computed, left = (None, None, "") if match is None else match.groups()
        if source and computed is None:
            raise ValueError(f"a source belongs to a computed list, and the inputs {inputs!r} name none")
        if match is None:
            return self._inner.replay(user, inputs)
        if struck is not None:
            return self._struck(user, self._row(user), int(struck, 16))
        if list_id(source) != computed:
            raise ValueError(f"list {computed} was computed from something else than {source[:40]!r}")
        model = self._list_model()
        listed = model.compute_again(model.row_of(user), *read_source(source))
        return self._served(listed, int(left, 16), STEP, inputs, source)

    def problems(self) -> list[str]:
        """Why this recommender cannot answer; empty if it can."""
        return self._inner.problems()

    def _row(self, user: int) -> list[int]:
        return self._model.reserve_of(self._model.row_of(user))

    def _struck(self, user: int, row: Sequence[int], mask: int) -> Answer:
        plain = self._inner.replay(user, "")
        return self._served(row, mask, plain.step, f"struck:{mask:x}", "")

    def _served(self, row: Sequence[int], mask: int, step: str, inputs: str, source: str) -> Answer:
        """The first films of `row` whose places are not in `mask`. A user who has seen everything gets the popular films."""
        films = self._model.films
        kept = [films[film] for place, film in enumerate(row) if not mask >> place & 1]
        if not kept:
            return Answer(self._inner.popular, "seen_all", inputs, source)
        return Answer(",".join(kept[:SERVED]), step, inputs, source)


def _mask(row: Sequence[int], struck: Sequence[int]) -> int:
    """A bit for each place of `row` with a struck film."""
    if len(struck) > 8:  # from here on a set is faster
        struck = frozenset(struck)  # type: ignore[assignment]
    return sum(1 << place for place, film in enumerate(row) if film in struck)
