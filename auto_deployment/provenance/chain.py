"""The chain behind one answer: every link on the way from the stream to the answer.

A missing link has its reason in `missing`. A chain with a gap says more than no chain.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from app.fresh.list_model import BEST_GRADE, read_source
from app.model import ArtifactError, load_rating, load_serving, read_metadata
from auto_deployment.common.errors import RunError
from auto_deployment.provenance import tries
from auto_deployment.provenance.explanation import Driver, find_drivers, step_meaning
from auto_deployment.provenance.history import HistoryFilm, history
from auto_deployment.provenance.listing import json_value
from auto_deployment.provenance.replay import find_model, replay
from auto_deployment.provenance.tries import LoggedRequest
from auto_deployment.release.bake import EVIDENCE
from auto_deployment.release.state import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from app.provenance.archive import Traced
    from auto_deployment.provenance.replay import Engine, ReplayedAnswer
    from auto_deployment.provenance.version_files import VersionFiles

T = TypeVar("T")


class RequestLink(BaseModel, frozen=True):
    """The recorded row of the answer. `served_at` is in UTC, ISO 8601."""

    answer_id: str
    request_id: str
    track: str
    served_at: str
    step: str
    digest: str
    inputs: str


class AnswerLink(BaseModel, frozen=True):
    """The films of the replayed answer, best first."""

    films: list[str]
    computed_by: str
    same_as_recorded: bool


class RankingLink(BaseModel, frozen=True):
    """The ranker of the version, and what the step of the answer means."""

    ranker: str | None
    step: str
    meaning: str


class VersionLink(BaseModel, frozen=True):
    """The version that answered. `code` is the commit that trained it, `commit` the commit with its tag.

    `rows` has rows and md5 of each table, `lines` the counts of its collections, `offsets` the marks of the stream.
    """

    number: int
    data_creation: str | None
    trained_on: str | None
    model_rmse: float | None
    data_md5: str | None
    model_md5: str | None
    code: str | None
    commit: str | None
    rows: dict[str, Any] | None
    lines: dict[str, Any] | None
    offsets: dict[str, Any] | None


class NewFilm(BaseModel, frozen=True):
    """A film that the user has rated or watched since the version's data, and the grade of the like, 0 to 1."""

    film: str
    grade: float


class AnswerChain(BaseModel, frozen=True):
    """All links. `new_films` are those that a list of step `fresh` follows. `missing` has reasons by the name of a link.

    `gate` and `release` have the content of their JSON files.
    """

    user: int
    request: RequestLink
    answer: AnswerLink | None
    ranking: RankingLink
    drivers: list[Driver]
    history: list[HistoryFilm] | None
    version: VersionLink
    gate: dict[str, Any] | None
    release: dict[str, Any] | None
    tries: list[LoggedRequest]
    missing: dict[str, str]
    new_films: list[NewFilm] = []


def gather(
    answer: Traced, source: str, files: VersionFiles, engine: Engine | None, tries_log: Path | None, *, here: bool
) -> AnswerChain:
    """The chain of one answer; `source` as in `replay`. `here` replays the answer with the code at hand.

    `tries_log` is NGINX's log, or a folder.
    """
    missing: dict[str, str] = {}
    number = answer.version_number
    replayed = _try(missing, "answer", lambda: replay(answer, source, files, None if here else engine))
    model = _try(missing, "model", lambda: find_model(answer, files, engine))
    metadata = {} if model is None else read_metadata(model)
    films = _try(missing, "history", lambda: history(files, number, answer.user_id, metadata.get("data", {})))
    report = files.committed(number, files.places.report(number)) or {}
    return AnswerChain(
        user=answer.user_id,
        request=_request(answer),
        answer=None if replayed is None else _answer(answer, replayed),
        ranking=RankingLink(ranker=metadata.get("ranker"), step=answer.step, meaning=step_meaning(answer.step, metadata)),
        drivers=_try(missing, "drivers", lambda: _drivers(answer, replayed, films, model)) or [],
        new_films=_try(missing, "new_films", lambda: _new_films(source, model)) or [],
        history=films,
        version=_version(answer, files, metadata, report),
        gate=metadata.get("metrics", {}).get("gate") or report.get("gate"),
        release=release_evidence(last_release(files.places.root, number)),
        tries=_tries(missing, answer, files, engine, tries_log),
        missing=missing,
    )


def last_release(root: Path, number: int) -> Path:
    """The folder of a version's last release, which may not exist. The folders' names end with the time."""
    return max((root / FOLDER).glob(f"{number}-*"), default=root / FOLDER / str(number))


def release_evidence(folder: Path) -> dict[str, Any] | None:
    """The JSON and text files of a release's folder, by name. None without a folder.

    The samples of a bake are left out: they are hours of metrics, and the verdict has their sum.
    """
    if not folder.is_dir():
        return None
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".txt", ".md", ".log")]
    return {path.name: _content(path) for path in files if path.name != EVIDENCE}


def _try(missing: dict[str, str], name: str, get: Callable[[], T]) -> T | None:
    try:
        return get()
    except (RunError, ArtifactError, OSError) as error:
        missing[name] = str(error)
        return None


def _request(answer: Traced) -> RequestLink:
    return RequestLink(
        answer_id=answer.answer_id,
        request_id=answer.request_id,
        track=answer.track,
        served_at=json_value(answer.served_at),
        step=answer.step,
        digest=answer.digest,
        inputs=answer.inputs,
    )


def _answer(answer: Traced, replayed: ReplayedAnswer) -> AnswerLink:
    return AnswerLink(films=replayed.body.split(","), computed_by=replayed.by, same_as_recorded=replayed.equals(answer))


def _drivers(
    answer: Traced, replayed: ReplayedAnswer | None, films: list[HistoryFilm] | None, model: Path | None
) -> list[Driver]:
    if replayed is None or films is None or model is None:
        raise RunError("the answer, the history or the model is missing")
    serving = load_serving(model)
    rating = load_rating(model) if answer.step == "known" else {}
    return find_drivers(answer.step, replayed.body.split(","), films, serving, rating)


def _new_films(source: str, model: Path | None) -> list[NewFilm]:
    """The films that a computed list follows besides the history."""
    if not source:
        return []
    if model is None:
        raise RunError("the model is missing")
    films = load_serving(model).films
    likes, _ = read_source(source)
    return [NewFilm(film=films[each.film], grade=round(each.grade / BEST_GRADE, 2)) for each in likes]


def _version(answer: Traced, files: VersionFiles, metadata: Mapping[str, Any], report: Mapping[str, Any]) -> VersionLink:
    number = answer.version_number
    offsets = files.committed(number, files.places.offsets) or {}
    return VersionLink(
        number=number,
        data_creation=json_value(answer.data_creation),
        trained_on=json_value(answer.trained_on),
        model_rmse=answer.model_rmse,
        data_md5=answer.data_md5,
        model_md5=answer.model_md5,
        code=answer.git_commit,
        commit=files.commit(number),
        rows=metadata.get("data") or report.get("data", {}).get("data"),
        lines=report.get("lines"),
        offsets=offsets.get("marks"),
    )


def _tries(
    missing: dict[str, str], answer: Traced, files: VersionFiles, engine: Engine | None, log: Path | None
) -> list[LoggedRequest]:
    lines: list[str] | None = None
    if log is not None:
        lines = _try(missing, "tries", lambda: tries.lines_in(log, answer.request_id))
    elif engine is not None:
        lines = tries.lines_in_stack(files.commands, engine.docker, answer.request_id)
    if lines is None:
        missing.setdefault("tries", "the stack's NGINX does not run here: --tries FILE or FOLDER names its log")
        return []
    return tries.read(lines, answer.request_id)


def _content(path: Path) -> object:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return json.loads(text) if path.suffix == ".json" else text
    except ValueError:
        return text
