"""The report of a version: what came in, what became of it, and how far the data has moved since the last one. Pure."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import TYPE_CHECKING, Any

from auto_deployment.ingestion.rows import worded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auto_deployment.ingestion.rows import Counts

# Below 0.1 a population is taken as unmoved, above 0.25 as another one (Siddiqi, Credit Risk Scorecards, 2006).
MOVED = 0.1
LEAST_SHARE = 1e-4


def report(
    metadata: Mapping[str, Any], counts: Counts, gaps: Sequence[Mapping[str, Any]], lag: int, previous: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The report of the version in `metadata`; `previous` is the last version's, None before the first."""
    return {
        "version": metadata["version"],
        "trained_on": metadata["trained_on"],
        "last_trained_on": previous["trained_on"] if previous is not None else None,
        "lines": {
            "in": counts.lines,
            "kinds": dict(counts.kinds),
            "repaired": counts.repaired,
            "rejected": dict(counts.rejected),
            "gaps": [dict(gap) for gap in gaps],
            "left_unread": lag,
        },
        "data": {name: metadata[name] for name in ("users", "films", "look_alikes", "ratings", "data")},
        "drift": drift(metadata, previous["data"]) if previous is not None else None,
        "gate": metadata["metrics"]["gate"],
        "ranking": metadata["metrics"]["evaluation"]["ranking"],
        "recipe": {name: metadata[name] for name in ("trainer", "ranker", "random_state")},
        "git_commit": metadata["git_commit"],
    }


def drift(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """How the data moved: population stability index and mean of the ratings, growth of users and films."""
    new, old = now["ratings"]["distribution"], before["ratings"]["distribution"]
    return {
        "rating_psi": stability_index(new, old),
        "rating_mean": _mean(new) - _mean(old),
        "new_users": now["users"] - before["users"],
        "new_films": now["films"] - before["films"],
    }


def stability_index(new: Mapping[str, int], old: Mapping[str, int]) -> float:
    """The population stability index of two distributions: 0 for the same shares, without an upper end."""
    totals = max(sum(new.values()), 1), max(sum(old.values()), 1)
    moved = 0.0
    for value in {*new, *old}:
        share = max(new.get(value, 0) / totals[0], LEAST_SHARE)
        was = max(old.get(value, 0) / totals[1], LEAST_SHARE)
        moved += (share - was) * log(share / was)
    return moved


def lines(told_report: Mapping[str, Any]) -> list[str]:
    """The report as a person reads it on a phone, the figures that matter first."""
    came, data, gate = told_report["lines"], told_report["data"], told_report["gate"]
    text = [
        f"RMSE {gate['rmse']:.3f} +- {gate['spread']:.3f} ({gate['rows']})",
        *(
            f"{name}: NDCG@10 {each['ndcg_at_10']:.3f}, Recall@20 {each['recall_at_20']:.3f}"
            for name, each in told_report["ranking"].items()
        ),
        f"{came['in']:,} lines: {_told(came['kinds'])}",
        f"{came['repaired']:,} repaired, {sum(came['rejected'].values()):,} rejected {_told(came['rejected'])}".rstrip(),
        f"{data['users']:,} users, {data['films']:,} films, {data['ratings']['pairs']:,} ratings",
        f"{data['ratings']['duplicates']:,} ratings were given again, the latest counts",
    ]
    text += [f"LOST to retention: {gap['source']} {gap['start']} to {gap['stop'] - 1}" for gap in came["gaps"]]
    if came["left_unread"]:
        text.append(f"{came['left_unread']:,} lines of the stream are left unread")
    return [*text, *clock_lines(told_report), *_drift_lines(told_report["drift"])]


def clock_lines(told_report: Mapping[str, Any]) -> list[str]:
    """What to say where a version is older than the last one by the clock, which was set back in between.

    The times stay as the clock gave them, because nothing here says which of the two was wrong.
    """
    now, last = told_report["trained_on"], told_report.get("last_trained_on")
    if last is None or now >= last:
        return []
    return [f"the clock was SET BACK: this version is of {now}, the last one of {last}; see which of the two was wrong"]


def _drift_lines(moved: Mapping[str, Any] | None) -> list[str]:
    if moved is None:
        return []
    verdict = "the ratings have moved" if moved["rating_psi"] >= MOVED else "the ratings are as before"
    return [
        f"{verdict}: PSI {moved['rating_psi']:.3f}, mean {moved['rating_mean']:+.3f}",
        f"{moved['new_users']:+,} users, {moved['new_films']:+,} films since the last version",
    ]


def _told(counts: Mapping[str, int]) -> str:
    return worded(Counter(counts))


def _mean(distribution: Mapping[str, int]) -> float:
    return sum(float(value) * count for value, count in distribution.items()) / max(sum(distribution.values()), 1)
