"""A bake's evidence and verdicts, kept in the release's folder after each observation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from auto_deployment.common.json_file import read_json, read_typed, to_json, write_json_synced, write_typed
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


def observe(
    folder: Path, rollout: Rollout, prometheus: Source, limits: Limits, now: float, telemetry: Telemetry | None = None
) -> Verdict:
    """Observe once; write evidence, verdict and self-test; the verdict. `telemetry` counts where the limits ask for it."""
    evidence = read_evidence(prometheus, load(folder, rollout), now, limits.check_seconds)
    if telemetry is not None and limits.watched != "off":
        evidence = replace(evidence, watched=telemetry(rollout, now, evidence.watched))
    found = verdict(evidence, limits, rollout.minutes(now))
    tested = self_test(evidence, limits, rollout.minutes(now))
    write_typed(folder / EVIDENCE, evidence)
    write_json_synced(folder / VERDICT, with_reasons(found), public=True)
    write_json_synced(folder / SELF_TEST, {**with_reasons(tested), "false_alarm": is_false_alarm(tested)}, public=True)
    return found


def load(folder: Path, rollout: Rollout) -> Evidence:
    """The evidence so far; no observation before the first one. Raises StateError."""
    return read_typed(folder / EVIDENCE, Evidence) or Evidence(str(rollout.version), rollout.bake_began or 0.0)


def false_alarm(folder: Path) -> bool | None:
    """Whether the self-test of a bake was a false alarm; None where the bake had no self-test."""
    tested = read_json(folder / SELF_TEST)
    return None if tested is None or not tested["readings"] else bool(tested["false_alarm"])


def after_reboot(folder: Path, rollout: Rollout, boot: str, now: float, uptime: float) -> Rollout:
    """The rollout after the machine was started anew: the time that it was off is neither bake nor crash."""
    evidence = load(folder, rollout)
    last = evidence.until if evidence.until is not None else (rollout.bake_began or now)
    write_typed(folder / EVIDENCE, replace(evidence, began=now, until=None, counters={}))
    baked = last - (rollout.bake_began or now)
    return replace(rollout, boot=boot, bake_began=now - baked, bake_uptime=uptime - baked)


def with_reasons(found: Verdict) -> dict[str, Any]:
    """A verdict as JSON, with its reasons."""
    return {**to_json(found), "reasons": found.reasons}
