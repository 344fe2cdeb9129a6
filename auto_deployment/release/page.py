"""The page of a release, from the files in its folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.common.json_file import read_json, read_typed
from auto_deployment.common.templates import render
from auto_deployment.common.time_format import minutes_of, utc
from auto_deployment.release import bake, shadow
from auto_deployment.release.analysis.bake_view import Bake
from auto_deployment.release.analysis.comparison import needed
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.analysis.verdict import Verdict
from auto_deployment.release.context import EVENTS
from auto_deployment.release.notices import SERVER, Advice, in_service_after, subject_of

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.analysis.sequential import Floats
    from auto_deployment.release.state import ReleaseEnd


def page(folder: Path, end: ReleaseEnd, limits: Limits, advice: Advice = SERVER) -> str:
    """The page as HTML. Raises RunError, OSError, ValueError or KeyError where a file is not as it was written."""
    path = folder / EVENTS
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    evidence = read_typed(folder / bake.EVIDENCE, Evidence)
    return render(
        "release/report.html",
        title=subject_of(end).removeprefix("movierec: "),
        end=end,
        began=utc(end.began),
        ended=utc(end.ended),
        duration=minutes_of(end.ended - end.began),
        advice=" ".join(in_service_after(end, advice)),
        bake=_charts(evidence, limits) if evidence and evidence.observations else None,
        verdict=read_typed(folder / bake.VERDICT, Verdict),
        self_test=read_typed(folder / bake.SELF_TEST, Verdict),
        shadow=read_json(folder / shadow.FILE),
        events=[(utc(each["at"]), each["step"], each["said"]) for each in events],
    )


def _charts(evidence: Evidence, limits: Limits) -> dict[str, object]:
    """The minutes of the samples, and for each chart a line by name; 0 / 0 is no number, and a gap."""
    view = Bake(evidence, limits)
    sides = {evidence.candidate: view.side, " and ".join(evidence.baseline): view.base}
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "minutes": [(each.at - evidence.observations[0].at) / 60 for each in evidence.observations],
            "mean": {name: _line(1000 * side.times.seconds / side.times.count) for name, side in sides.items()},
            "failed": {name: _line(side.failures / side.tries) for name, side in sides.items()},
            "tries": {name: _line(side.tries / limits.check_seconds) for name, side in sides.items()},
            "evidence": {name: _line(np.maximum(odds / needed(name), 0)) for name, odds in view.odds.items()},
        }


def _line(values: Floats) -> list[float]:
    line: list[float] = values.tolist()
    return line
