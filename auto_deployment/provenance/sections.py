"""A chain as titled sections of labelled lines, for text and page. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.provenance.chain import AnswerChain, VersionLink
    from auto_deployment.provenance.history import HistoryFilm

    Lines: TypeAlias = list[tuple[str, str]]

MOST_FILMS = 25
INPUTS = {
    "explore": "by this number a late place was given to a film that few lists show",
    "struck": "the places of films that the user had begun or rated since, as bits of a hexadecimal number",
    "fresh": "the computed list, and the places of films that the user had begun or rated since it was computed",
}


class Section(NamedTuple):
    """A title and its lines, each with a label."""

    title: str
    lines: Lines


def sections(chain: AnswerChain) -> list[Section]:
    """The sections of a chain, from the user back to the stream."""
    found = [
        Section("Request", _request(chain)),
        Section("Answer", _answer(chain)),
        Section("Ranking", _ranking(chain)),
        Section("New films of the user, since the data of this version", _new_films(chain)),
        Section("History of the user, in the data of this version", _history(chain)),
        Section("Version", _version(chain.version)),
        Section("Data", _data(chain.version)),
        Section("Gate", _gate(chain.gate)),
        Section("Release", _release(chain.release)),
        Section("Tries at NGINX", _tries(chain)),
    ]
    return [section for section in found if section.lines]


def text(chain: AnswerChain) -> list[str]:
    """The sections as lines of text."""
    lines: list[str] = []
    for section in sections(chain):
        width = max(len(label) for label, _ in section.lines)
        lines += [section.title, *(f"  {label.ljust(width)}  {value}".rstrip() for label, value in section.lines), ""]
    return lines[:-1]


def _request(chain: AnswerChain) -> Lines:
    request = chain.request
    meaning = f"{request.inputs}: {INPUTS.get(request.inputs.partition(':')[0], 'drawn for this answer')}"
    return [
        ("user", str(chain.user)),
        ("request id", request.request_id),
        ("answer id", request.answer_id),
        ("served at", f"{request.served_at}, track {request.track}"),
        *([("inputs", meaning)] if request.inputs else []),
    ]


def _answer(chain: AnswerChain) -> Lines:
    recorded, answer = chain.request.digest, chain.answer
    if answer is None:
        return [("digest", recorded), _missing(chain, "answer")]
    verdict = "equal to the recorded digest" if answer.same_as_recorded else "NOT what the recorded digest says"
    films = [(f"{place}", film) for place, film in enumerate(answer.films, 1)]
    return [("digest", recorded), ("computed", f"by {answer.computed_by}: {verdict}"), *films]


def _ranking(chain: AnswerChain) -> Lines:
    ranking = chain.ranking
    lines = [("ranker", ranking.ranker or "-"), ("step", f"{ranking.step}: {ranking.meaning}")]
    if "drivers" in chain.missing:
        return [*lines, _missing(chain, "drivers")]
    drivers = [("driven by", f"{each.film}: {each.did}") for each in chain.drivers]
    return lines + (drivers or [("driven by", "no film of the history")])


def _new_films(chain: AnswerChain) -> Lines:
    if "new_films" in chain.missing:
        return [_missing(chain, "new_films")]
    return [(each.film, f"liked by {each.grade:g} of 1" if each.grade else "not liked") for each in chain.new_films]


def _history(chain: AnswerChain) -> Lines:
    films = chain.history
    if films is None:
        return [_missing(chain, "history")]
    lines = [(each.film, _rated_and_watched(each)) for each in films[:MOST_FILMS]]
    more = [("...", f"{len(films) - MOST_FILMS} more: --json has them all")] if len(films) > MOST_FILMS else []
    return [("films", f"{len(films)}"), *lines, *more]


def _rated_and_watched(film: HistoryFilm) -> str:
    rated = [f"rated {film.stars:g} at {film.rated_at}"] if film.stars is not None else []
    watched = [f"watched {film.minutes} minutes"] if film.minutes else []
    return ", ".join(rated + watched)


def _version(version: VersionLink) -> Lines:
    values = {
        "number": version.number,
        "data of": version.data_creation,
        "trained on": version.trained_on,
        "RMSE": version.model_rmse,
        "code, as commit": version.code,
        "version's commit": version.commit,
        "data md5": version.data_md5,
        "model md5": version.model_md5,
    }
    return [(label, "-" if value in (None, "") else _short(value)) for label, value in values.items()]


def _data(version: VersionLink) -> Lines:
    rows = [(table, f"{each['rows']:,} rows, md5 {each['md5']}") for table, each in (version.rows or {}).items()]
    offsets = [(f"offset {source}", _short(mark)) for source, mark in (version.offsets or {}).items()]
    lines = version.lines
    counts = (
        [("lines", f"{lines['in']:,} since the version before, {sum(lines['rejected'].values()):,} rejected")] if lines else []
    )
    return [*rows, *counts, *offsets] or [("", "git has no report and no offsets of this version here: run git fetch --tags")]


def _gate(gate: Mapping[str, Any] | None) -> Lines:
    if gate is None:
        return [("", "no metrics of the gate are known here: run git fetch --tags")]
    rmse = ("RMSE", f"{gate['rmse']:.4f} +- {gate['spread']:.4f}, {gate['rows']}")
    return [rmse, *((each["name"], _check(each)) for each in gate.get("checks", []))]


def _check(check: Mapping[str, Any]) -> str:
    outcome = "passed" if check["passed"] else "refused"
    if check["threshold"] is None:
        return f"{outcome}: {check['said']}"
    return f"{outcome}: {check['value']:.4f}, threshold {check['threshold']:.4f}"


def _release(evidence: Mapping[str, Any] | None) -> Lines:
    if evidence is None:
        return [("", "no evidence of a release is kept here: the server has it in .stack/release/")]
    return [(name, _short(content)) for name, content in evidence.items()]


def _tries(chain: AnswerChain) -> Lines:
    if "tries" in chain.missing:
        return [_missing(chain, "tries")]
    lines = []
    for request in chain.tries:
        tries = "; ".join(f"{each.address} {each.status} in {each.seconds} s" for each in request.tries)
        lines.append((request.time, f"{request.status} in {request.seconds} s, tries: {tries or 'none'}"))
    return lines or [("", "the log has no line of this request (any more): --tries FILE or FOLDER names another log")]


def _missing(chain: AnswerChain, name: str) -> tuple[str, str]:
    return "missing", chain.missing.get(name, "not known here")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
