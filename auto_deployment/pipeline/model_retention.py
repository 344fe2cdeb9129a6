"""Retention of models: which models go from the DVC remote and the cache, and why the others stay. Parts never go.

A model stays while it is among the last `KEEP_MODELS` or an answer that it gave is kept. It also stays while a release may need
it, or another branch or tag of git names it. Where one of these facts is unknown, no model goes.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from app.provenance import DatabaseError
from app.provenance.archive import Archive
from auto_deployment.common.errors import RunError, first_line
from auto_deployment.common.process import CommandError
from auto_deployment.versioning.models import Models

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from auto_deployment.common.settings import Settings
    from auto_deployment.versioning.models import Model, References
    from auto_deployment.versioning.repository import Places

log = logging.getLogger(__name__)


class RetentionError(RunError):
    """A fact is unknown without which no model may go. The message says which, and what to do."""


class Judged(NamedTuple):
    """A model that DVC still has. Without `reasons` to stay it may go, with its `objects` that nothing else names."""

    model: Model
    reasons: tuple[str, ...]
    objects: AbstractSet[str] = frozenset()


class Facts(NamedTuple):
    """What decides besides the versions themselves: versions that gave kept answers, and those that a release may need."""

    answered: AbstractSet[int]
    released: AbstractSet[int]
    references: References


def reasons(model: Model, latest: Collection[int], facts: Facts) -> tuple[str, ...]:
    """Why a model stays; empty where it may go."""
    found = {
        "among the last versions (KEEP_MODELS)": model.number in latest,
        "answers of it are kept": model.number in facts.answered,
        "a release may need it": model.number in facts.released,
        "its tag is not pushed": model.number not in facts.references.pushed,
        f"named by {facts.references.models.get(model.folder, 'another .dvc file')}": (
            model.folder in facts.references.models or model.folder in facts.references.objects
        ),
    }
    return tuple(reason for reason, holds in found.items() if holds)


def judge(
    models: Sequence[Model], files: Mapping[str, AbstractSet[str]], keep: int, facts: Facts
) -> tuple[list[Judged], set[str]]:
    """What stays and what may go of the `models`, and all objects that stay. Pure.

    `files` has the objects of each folder that DVC still has; a model without an entry has gone before.
    """
    latest = {model.number for model in models[-keep:]}
    there = [model for model in models if model.folder in files]
    stays = {model: reasons(model, latest, facts) for model in there}
    kept = facts.references.objects | {model.folder for model in there if stays[model]}
    kept |= {each for folder in kept for each in files.get(folder, ())}
    going = {model: {model.folder, *files[model.folder]} - kept for model in there}
    return [Judged(model, stays[model], frozenset() if stays[model] else going[model]) for model in there], kept


class ModelRetention:
    """The retention in one checkout. `released` gives the versions that a release may need, and may raise RunError.

    The caller holds the run lock.
    """

    def __init__(self, settings: Settings, places: Places, released: Callable[[], AbstractSet[int]]) -> None:
        self._settings = settings
        self._released = released
        self._models = Models(places, settings.git_remote, settings.dvc_remote)
        self._kept: AbstractSet[str] = frozenset()

    def judge(self) -> list[Judged]:
        """The models that DVC still has, ascending. Nothing is removed. Raises RunError where a fact is unknown."""
        keep, models = self._settings.keep_models, self._models.published()
        if len(models) <= keep and self._models.unfinished() is None:
            return [Judged(model, ("among the last versions (KEEP_MODELS)",)) for model in models]
        references = self._models.references(models)
        folders = {each for each in references.objects if each.endswith(".dir")}
        files = self._models.files([*folders, *(model.folder for model in models)])
        older = {model.number for model in models[:-keep] if model.folder in files}
        facts = Facts(frozenset(), self._released(), references)
        if older:
            facts = facts._replace(answered=self._answered(older, facts.released))
        judged, self._kept = judge(models, files, keep, facts)
        return judged

    def unfinished(self) -> int | None:
        """The version of a removal that was interrupted. `remove` completes it first."""
        return self._models.unfinished()

    def remove(self, judged: Sequence[Judged], goes_on: Callable[[], bool]) -> list[Model]:
        """Remove the models that may go by `judge`, while it `goes_on`. The removed ones."""
        self._models.finish(self._kept)
        removed = []
        for each in judged:
            if each.reasons:
                continue
            if not goes_on():
                break
            try:
                self._models.remove(each.model.number, each.objects)
            except CommandError as error:
                raise RetentionError(
                    f"the removal of version {each.model.number} is incomplete; the next run completes it: {error}"
                ) from error
            log.info("the model of version %d is removed: %d objects", each.model.number, len(each.objects))
            removed.append(each.model)
        return removed

    def _answered(self, versions: AbstractSet[int], released: AbstractSet[int]) -> set[int]:
        """The versions that gave answers which the database keeps."""
        url = self._settings.database_url
        if url is None:
            raise RetentionError(
                "there is no database (MYSQL_USER is not set), so nobody knows which models gave kept answers: none is removed"
            )
        try:
            with closing(Archive(url)) as archive:
                if released and not archive.last_users(1):
                    raise RetentionError(
                        f"the database has no answer, but version {max(released)} was released: no model is removed. "
                        "If the database is new, scripts/provenance restore FILE adds the answers of a backup"
                    )
                return archive.answered_by(versions)
        except DatabaseError as error:
            raise RetentionError(
                f"the database does not say which models gave kept answers, so none is removed: {first_line(error)}"
            ) from error


def remove_unneeded(retention: ModelRetention, goes_on: Callable[[], bool]) -> list[Model]:
    """Remove the models that nobody needs, at the end of a run. A failure is logged and does not fail the run."""
    try:
        judged = retention.judge()
        return retention.remove(judged, goes_on)
    except RunError as error:
        log.warning("older models stay: %s", error)
    except Exception:
        # The version is published by now: DVC's libraries may raise anything, and no run fails by that.
        log.exception("older models stay")
    return []
