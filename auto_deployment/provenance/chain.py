"""Why somebody got what they got: everything on the way from the stream to the answer, gathered as plain data.

A missing link stands in the chain as `missing`, with the reason. A chain with a gap says more than none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from app.model import ArtifactError, load_rating, load_serving, read_metadata
from auto_deployment.common.errors import RunError
from auto_deployment.provenance import tries
from auto_deployment.provenance.history import Seen, history
from auto_deployment.provenance.listing import plain
from auto_deployment.provenance.reasons import drivers, step_told
from auto_deployment.provenance.replay import Computed, compute, find_model
from auto_deployment.release.bake import EVIDENCE
from auto_deployment.release.state import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from app.provenance.archive import Traced
    from auto_deployment.provenance.replay import Engine
    from auto_deployment.provenance.version_files import VersionFiles

T = TypeVar("T")


def gather(answer: Traced, files: VersionFiles, engine: Engine | None, tries_log: Path | None, *, here: bool) -> dict[str, Any]:
    """The chain of one answer; every value can be written as JSON."""
    missing: dict[str, str] = {}
    number = answer.version_number
    computed = _try(missing, "answer", lambda: compute(answer, files, None if here else engine))
    model = _try(missing, "model", lambda: find_model(answer, files, engine))
    metadata = {} if model is None else read_metadata(model)
    seen = _try(missing, "history", lambda: history(files, number, answer.user_id, metadata.get("data", {})))
    films = None if computed is None else computed.body.split(",")
    return {
        "user": answer.user_id,
        "request": _request(answer),
        "answer": None if computed is None else _answer(answer, computed),
        "ranking": _ranking(answer, metadata),
        "drivers": _try(missing, "drivers", lambda: _drivers(answer, films, seen, model)) or [],
        "history": None if seen is None else [each._asdict() for each in seen],
        "version": _version(answer, files, metadata),
        "gate": metadata.get("metrics", {}).get("gate")
        or (files.recorded(number, files.places.report(number)) or {}).get("gate"),
        "release": release_evidence(last_release(files.places.root, number)),
        "tries": _tries(missing, answer, files, engine, tries_log),
        "missing": missing,
    }


def last_release(root: Path, number: int) -> Path:
    """The folder of a version's last release: their names end with the time. It may not be there."""
    return max((root / FOLDER).glob(f"{number}-*"), default=root / FOLDER / str(number))


def release_evidence(folder: Path) -> dict[str, Any] | None:
    """What the release of a version has left in its folder: each JSON file whole, of others the text; None without a folder.

    The looks of a bake are left out: hours of figures, of which the verdict has the sum.
    """
    if not folder.is_dir():
        return None
    told = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".txt", ".md", ".log")]
    return {path.name: _content(path) for path in told if path.name != EVIDENCE}


def _try(missing: dict[str, str], name: str, get: Callable[[], T]) -> T | None:
    try:
        return get()
    except (RunError, ArtifactError, OSError) as error:
        missing[name] = str(error)
        return None


def _request(answer: Traced) -> dict[str, Any]:
    names = ("answer_id", "request_id", "track", "served_at", "step", "digest", "inputs")
    return {name: plain(getattr(answer, name)) for name in names}


def _answer(answer: Traced, computed: Computed) -> dict[str, Any]:
    return {"films": computed.body.split(","), "computed_by": computed.by, "same_as_recorded": computed.is_same(answer)}


def _ranking(answer: Traced, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"ranker": metadata.get("ranker"), "step": answer.step, "meaning": step_told(answer.step, metadata)}


def _drivers(answer: Traced, films: list[str] | None, seen: list[Seen] | None, model: Path | None) -> list[dict[str, Any]]:
    if films is None or seen is None or model is None:
        raise RunError("the answer, the history or the model is missing")
    serving = load_serving(model)
    rating = load_rating(model) if answer.step == "known" else {}
    return [each._asdict() for each in drivers(answer.step, films, seen, serving, rating)]


def _version(answer: Traced, files: VersionFiles, metadata: Mapping[str, Any]) -> dict[str, Any]:
    number = answer.version_number
    report = files.recorded(number, files.places.report(number)) or {}
    offsets = files.recorded(number, files.places.offsets) or {}
    return {
        "number": number,
        "data_creation": plain(answer.data_creation),
        "trained_on": plain(answer.trained_on),
        "model_rmse": answer.model_rmse,
        "data_md5": answer.data_md5,
        "model_md5": answer.model_md5,
        "code": answer.git_commit,
        "commit": files.commit(number),
        "rows": metadata.get("data") or report.get("data", {}).get("data"),
        "lines": report.get("lines"),
        "offsets": offsets.get("marks"),
    }


def _tries(
    missing: dict[str, str], answer: Traced, files: VersionFiles, engine: Engine | None, log: Path | None
) -> list[dict[str, Any]]:
    lines: list[str] | None = None
    if log is not None:
        lines = _try(missing, "tries", lambda: tries.lines_in(log, answer.request_id))
    elif engine is not None:
        lines = tries.lines_in_stack(files.commands, engine.docker, answer.request_id)
    if lines is None:
        missing.setdefault("tries", "the stack's NGINX does not run here: --tries FILE or FOLDER names its log")
        return []
    found = tries.read(lines, answer.request_id)
    return [{**each._asdict(), "tries": [one._asdict() for one in each.tries]} for each in found]


def _content(path: Path) -> object:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return json.loads(text) if path.suffix == ".json" else text
    except ValueError:
        return text
