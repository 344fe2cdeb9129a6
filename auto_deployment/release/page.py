"""A release's evidence as one HTML page that needs no network and no script. Pure but for `of_folder`, which reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from auto_deployment.common.html import Rows, document, table, titled
from auto_deployment.common.json_file import read_json
from auto_deployment.common.svg import Line, chart
from auto_deployment.common.time_format import minutes_of, utc
from auto_deployment.release import bake
from auto_deployment.release.analysis.bake_view import Bake
from auto_deployment.release.analysis.comparison import needed
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.notices import subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from auto_deployment.release.analysis.comparison import Limits, Side
    from auto_deployment.release.analysis.sequential import Floats
    from auto_deployment.release.state import End

EVENTS = "events.jsonl"


class Told(NamedTuple):
    """What a release's folder holds; None where it came to no such thing."""

    evidence: Mapping[str, Any] | None
    verdict: Mapping[str, Any] | None
    self_test: Mapping[str, Any] | None
    shadow: Mapping[str, Any] | None
    events: Sequence[Mapping[str, Any]]


def of_folder(folder: Path, end: End, limits: Limits) -> str:
    """The page of a release's folder. Raises StateError or OSError where a file cannot be read."""
    path = folder / EVENTS
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    evidence, verdict, tested, shadow = (
        read_json(folder / name) for name in (bake.EVIDENCE, bake.VERDICT, bake.SELF_TEST, "shadow.json")
    )
    return render(end, Told(evidence, verdict, tested, shadow, events), limits)


def render(end: End, told: Told, limits: Limits) -> str:
    """The page."""
    title = subject_of(end).removeprefix("movierec: ")
    parts = [
        table((), _decision(end)),
        "<h2>The bake</h2>",
        *_charts(told.evidence, limits),
        *titled(
            "What was asked, and what came of it",
            ("measure", "said", "outcome", "required", "sample", "value", "query that gives the value"),
            _readings(told.verdict),
        ),
        *titled(
            "The self-test: stable-2 compared with stable-1",
            ("measure", "said", "outcome", "required", "sample"),
            _readings(told.self_test, 5),
        ),
        *titled("The shadow", ("", "version", "in service"), _shadow(told.shadow)),
        *titled(
            "What happened", ("time", "step", "what"), [(utc(each["at"]), each["step"], each["said"]) for each in told.events]
        ),
    ]
    return document(title, parts)


def _decision(end: End) -> Rows:
    return [
        ("decision", str(end.ending)),
        ("because", "; ".join(end.reasons) or "every measure that is known keeps to its threshold"),
        ("version", f"{end.version}, replacing {end.replaces}"),
        ("began", f"{utc(end.began)}, by {end.who}"),
        ("ended", f"{utc(end.ended)}, after {minutes_of(end.ended - end.began)}"),
    ]


def _charts(told: Mapping[str, Any] | None, limits: Limits) -> list[str]:
    if told is None or not told["looks"]:
        return ["<p>No look was taken.</p>"]
    evidence = Evidence.from_dict(told)
    seen = Bake(evidence, limits)
    minutes = [(look.at - evidence.looks[0].at) / 60 for look in evidence.looks]
    sides = ((evidence.candidate, seen.side), (" and ".join(evidence.baseline), seen.base))
    made = [
        chart("Mean time of an answer", "ms", minutes, [Line(name, _mean(side)) for name, side in sides]),
        chart("Failed tries", "%", minutes, [Line(name, _errors(side)) for name, side in sides]),
        chart("Tries", "/s", minutes, [Line(name, _traffic(side, limits)) for name, side in sides]),
    ]
    bounds = [Line(name, np.maximum(odds / needed(name), 0.0).tolist()) for name, odds in seen.odds.items()]
    return [*made, chart("Evidence of being worse, as a part of what is needed (logarithms)", "", minutes, bounds, 1.0)]


def _mean(side: Side) -> list[float]:
    return _ratio(side.times.seconds, side.times.count, 1000.0)


def _errors(side: Side) -> list[float]:
    return _ratio(side.failures, side.tries, 100.0)


def _traffic(side: Side, limits: Limits) -> list[float]:
    rate: list[float] = (side.tries / limits.check_seconds).tolist()
    return rate


def _ratio(above: Floats, below: Floats, scale: float) -> list[float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: list[float] = (scale * above / below).tolist()
    return found


def _readings(verdict: Mapping[str, Any] | None, columns: int = 7) -> Rows:
    if verdict is None:
        return []
    return [
        (
            each["name"],
            each["said"],
            each["outcome"],
            "yes" if each.get("required", True) else "advisory",
            f"{each['sample']:,}",
            "" if each["value"] is None else f"{each['value']:.6g}",
            each["query"],
        )[:columns]
        for each in verdict["readings"]
    ]


def _shadow(shadow: Mapping[str, Any] | None) -> Rows:
    if shadow is None:
        return []
    one, other = shadow["candidate"], shadow["stable"]
    rows = [(name, f"{one[name]:.4g}", f"{other[name]:.4g}") for name in one]
    return [*rows, ("overlap of the first ten", f"{shadow['overlap']:.1%}", ""), ("users", shadow["source"], "")]
