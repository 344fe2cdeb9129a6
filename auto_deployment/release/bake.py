"""A bake's evidence and verdicts, kept in the release's folder after each look."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from auto_deployment.common.json_file import read_json, write_json_synced
from auto_deployment.release.analysis.aa_test import is_false_alarm, self_test
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.analysis.scrape import read_evidence
from auto_deployment.release.analysis.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from auto_deployment.common.prometheus import Source
    from auto_deployment.online_evaluation.watched_counts import WatchedCounts
    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.analysis.verdict import Verdict
    from auto_deployment.release.state_machine import Rollout

    Telemetry: TypeAlias = Callable[[Rollout, float, WatchedCounts | None], WatchedCounts]

EVIDENCE, VERDICT, SELF_TEST = "evidence.json", "verdict.json", "self_test.json"


def look(
    folder: Path, rollout: Rollout, prometheus: Source, limits: Limits, now: float, telemetry: Telemetry | None = None
) -> Verdict:
    """Look once, keep evidence, verdict and self-test, and judge. `telemetry` is asked where limits say so."""
    evidence = read_evidence(prometheus, load(folder, rollout), now, limits.check_seconds)
    if telemetry is not None and limits.watched != "off":
        evidence = replace(evidence, watched=telemetry(rollout, now, evidence.watched))
    judged = verdict(evidence, limits, rollout.minutes(now))
    tested = self_test(evidence, limits, rollout.minutes(now))
    write_json_synced(folder / EVIDENCE, evidence.to_dict())
    write_json_synced(folder / VERDICT, judged.to_dict())
    write_json_synced(folder / SELF_TEST, {**tested.to_dict(), "false_alarm": is_false_alarm(tested)})
    return judged


def load(folder: Path, rollout: Rollout) -> Evidence:
    """The evidence so far; none before the first look. Raises StateError."""
    told = read_json(folder / EVIDENCE)
    return Evidence.from_dict(told) if told is not None else Evidence(str(rollout.version), rollout.bake_began or 0.0)


def false_alarm(folder: Path) -> bool | None:
    """What the self-test of a bake said; None where there was none."""
    told = read_json(folder / SELF_TEST)
    return None if told is None or not told["readings"] else bool(told["false_alarm"])


def after_reboot(folder: Path, rollout: Rollout, boot: str, now: float, uptime: float) -> Rollout:
    """The rollout on a machine that was started anew: the time that it was away is no bake, and nobody's crash."""
    evidence = load(folder, rollout)
    last = evidence.until if evidence.until is not None else (rollout.bake_began or now)
    write_json_synced(folder / EVIDENCE, replace(evidence, began=now, until=None, counters={}).to_dict())
    baked = last - (rollout.bake_began or now)
    return replace(rollout, boot=boot, bake_began=now - baked, bake_uptime=uptime - baked)
