"""A chain as a person reads it: titled sections of labelled lines, from which text and page are made. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_SEEN = 25
INPUTS = {"explore": "by this number a late place was given to a film that few lists show"}


class Section(NamedTuple):
    """A title and its lines, each with a label."""

    title: str
    lines: list[tuple[str, str]]


def sections(chain: Mapping[str, Any]) -> list[Section]:
    """The chain from the user back to the stream."""
    made = [
        Section("Request", _request(chain)),
        Section("Answer", _answer(chain)),
        Section("Ranking", _ranking(chain)),
        Section("History of the user, in the data of this version", _history(chain)),
        Section("Version", _version(chain["version"])),
        Section("Data", _data(chain["version"])),
        Section("Gate", _gate(chain["gate"])),
        Section("Release", _release(chain["release"])),
        Section("Tries at NGINX", _tries(chain)),
    ]
    return [section for section in made if section.lines]


def text(chain: Mapping[str, Any]) -> list[str]:
    """The sections as lines of text."""
    lines: list[str] = []
    for section in sections(chain):
        width = max(len(label) for label, _ in section.lines)
        lines += [section.title, *(f"  {label.ljust(width)}  {told}".rstrip() for label, told in section.lines), ""]
    return lines[:-1]


def _request(chain: Mapping[str, Any]) -> list[tuple[str, str]]:
    request = chain["request"]
    told = f"{request['inputs']}: {INPUTS.get(request['inputs'].partition(':')[0], 'drawn for this answer')}"
    inputs = [("inputs", told)] if request["inputs"] else []
    served = ("served at", f"{request['served_at']}, track {request['track']}")
    return [
        ("user", str(chain["user"])),
        ("request id", request["request_id"]),
        ("answer id", request["answer_id"]),
        served,
        *inputs,
    ]


def _answer(chain: Mapping[str, Any]) -> list[tuple[str, str]]:
    recorded, answer = chain["request"]["digest"], chain["answer"]
    if answer is None:
        return [("digest", recorded), _missing(chain, "answer")]
    verdict = "equal to the recorded digest" if answer["same_as_recorded"] else "NOT what the recorded digest says"
    films = [(f"{place}", film) for place, film in enumerate(answer["films"], 1)]
    return [("digest", recorded), ("computed", f"by {answer['computed_by']}: {verdict}"), *films]


def _ranking(chain: Mapping[str, Any]) -> list[tuple[str, str]]:
    ranking = chain["ranking"]
    told = [("ranker", ranking["ranker"] or "-"), ("step", f"{ranking['step']}: {ranking['meaning']}")]
    if "drivers" in chain["missing"]:
        return [*told, _missing(chain, "drivers")]
    drivers = [("driven by", f"{each['film']}: {each['did']}") for each in chain["drivers"]]
    return told + (drivers or [("driven by", "no film of the history")])


def _history(chain: Mapping[str, Any]) -> list[tuple[str, str]]:
    seen: Sequence[Mapping[str, Any]] | None = chain["history"]
    if seen is None:
        return [_missing(chain, "history")]
    lines = [(each["film"], _seen(each)) for each in seen[:MOST_SEEN]]
    more = [("...", f"{len(seen) - MOST_SEEN} more: --json has them all")] if len(seen) > MOST_SEEN else []
    return [("films", f"{len(seen)}"), *lines, *more]


def _seen(film: Mapping[str, Any]) -> str:
    rated = [f"rated {film['stars']:g} at {film['rated_at']}"] if film["stars"] is not None else []
    watched = [f"watched {film['minutes']} minutes"] if film["minutes"] else []
    return ", ".join(rated + watched)


def _version(version: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "number": "number",
        "data_creation": "data of",
        "trained_on": "trained on",
        "model_rmse": "RMSE",
        "code": "code, as commit",
        "commit": "version's commit",
        "data_md5": "data md5",
        "model_md5": "model md5",
    }
    return [(label, "-" if version[name] in (None, "") else _short(version[name])) for name, label in names.items()]


def _data(version: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(table, f"{told['rows']:,} rows, md5 {told['md5']}") for table, told in (version["rows"] or {}).items()]
    offsets = [(f"offset {source}", _short(mark)) for source, mark in (version["offsets"] or {}).items()]
    lines = version["lines"]
    came = (
        [("lines", f"{lines['in']:,} since the version before, {sum(lines['rejected'].values()):,} rejected")] if lines else []
    )
    return [*rows, *came, *offsets] or [("", "git has no report and no offsets of this version here")]


def _gate(gate: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if gate is None:
        return [("", "no figures are known here")]
    rmse = ("RMSE", f"{gate['rmse']:.4f} +- {gate['spread']:.4f}, {gate['rows']}")
    checks = [(each["name"], _check(each)) for each in gate.get("checks", [])]
    return [rmse, *checks]


def _check(check: Mapping[str, Any]) -> str:
    if check["threshold"] is None:
        return f"{'passed' if check['passed'] else 'refused'}: {check['said']}"
    return f"{'passed' if check['passed'] else 'refused'}: {check['value']:.4f}, threshold {check['threshold']:.4f}"


def _release(evidence: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if evidence is None:
        return [("", "no evidence of a release is kept here")]
    return [(name, _short(told)) for name, told in evidence.items()]


def _tries(chain: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "tries" in chain["missing"]:
        return [_missing(chain, "tries")]
    lines = []
    for request in chain["tries"]:
        tries = "; ".join(f"{each['address']} {each['status']} in {each['seconds']} s" for each in request["tries"])
        lines.append((request["time"], f"{request['status']} in {request['seconds']} s, tries: {tries or 'none'}"))
    return lines or [("", "the log has no line of this request (any more)")]


def _missing(chain: Mapping[str, Any], name: str) -> tuple[str, str]:
    return "missing", chain["missing"].get(name, "not known here")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
