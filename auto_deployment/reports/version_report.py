"""The report of a version: the lines that came in, what became of them, and how the data changed since the last version."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import TYPE_CHECKING, Any

from pydantic import Field

from auto_deployment.common.json_file import Stored, read_typed, write_json_synced
from auto_deployment.evaluation.champion import Recipe
from auto_deployment.evaluation.gate import Decision
from auto_deployment.evaluation.model_metadata import DataFile, RatingCounts
from auto_deployment.ingestion.rows import counts_text
from auto_deployment.online_evaluation.metrics import OnlineMetrics
from auto_deployment.ranking.offline_evaluation import RankingMetrics
from auto_deployment.reports.console import sample_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from auto_deployment.evaluation.model_metadata import ModelMetadata
    from auto_deployment.ingestion.rows import Counts

# Below 0.1 a population is taken as unmoved, above 0.25 as another one (Siddiqi, Credit Risk Scorecards, 2006).
MOVED = 0.1
LEAST_SHARE = 1e-4


class LostLines(Stored):
    """Lines that the stream's retention removed before a run read them: offsets `start` to `stop` - 1 of `source`."""

    source: str
    start: int
    stop: int
    lines: int


class LineCounts(Stored):
    """The lines since the last version: all of them, by kind, repaired, rejected by reason, lost, and not yet read."""

    count: int = Field(alias="in")
    kinds: dict[str, int]
    repaired: int
    rejected: dict[str, int]
    gaps: list[LostLines]
    left_unread: int


class DataSummary(Stored):
    """The tables that the version was trained on.

    `look_alikes` are the first of `look_alike_count` damaged film ids that were left out.
    """

    users: int
    films: int
    look_alikes: tuple[str, ...]
    look_alike_count: int = 0
    ratings: RatingCounts
    data: dict[str, DataFile]


class Drift(Stored):
    """The change since the last version: population stability index and mean of the ratings, growth of users and films."""

    rating_psi: float
    rating_mean: float
    new_users: int
    new_films: int


class EarlierReport(Stored):
    """What later versions need of the file `report_N.json`."""

    trained_on: str
    data: DataSummary
    recipe: Recipe


class VersionReport(EarlierReport):
    """The file `report_N.json`. `ranking` is by ranker. Before the first version there is no `drift`.

    `sampled_users` is as in `Evaluation`.
    """

    version: int
    last_trained_on: str | None = None
    lines: LineCounts
    drift: Drift | None
    gate: Decision
    ranking: dict[str, RankingMetrics]
    sampled_users: int | None = None
    git_commit: str
    telemetry: OnlineMetrics | None = None


def read(path: Path) -> VersionReport | None:
    """The report in a file; None where there is no file. Raises StateError."""
    return read_typed(path, VersionReport)


def read_earlier(path: Path) -> EarlierReport | None:
    """The report of an earlier version, perhaps by older software; None where there is no file. Raises StateError."""
    return read_typed(path, EarlierReport)


def write(path: Path, report: VersionReport) -> None:
    """Replace the file."""
    write_json_synced(path, report.model_dump(mode="json"))


def build(
    metadata: ModelMetadata,
    counts: Counts,
    gaps: Sequence[Mapping[str, Any]],
    lag: int,
    previous: EarlierReport | None,
    telemetry: OnlineMetrics | None,
) -> VersionReport:
    """The report of the version in `metadata`; `previous` is the last version's report, None before the first version."""
    data = DataSummary(
        users=metadata.users,
        films=metadata.films,
        look_alikes=metadata.look_alikes,
        look_alike_count=metadata.look_alike_count,
        ratings=metadata.ratings,
        data=metadata.data,
    )
    return VersionReport(
        version=metadata.version,
        trained_on=metadata.trained_on,
        last_trained_on=None if previous is None else previous.trained_on,
        lines=LineCounts(
            count=counts.lines,
            kinds=dict(counts.kinds),
            repaired=counts.repaired,
            rejected=dict(counts.rejected),
            gaps=[LostLines.model_validate(gap) for gap in gaps],
            left_unread=lag,
        ),
        data=data,
        drift=None if previous is None else drift(data, previous.data),
        gate=metadata.metrics.gate,
        ranking=metadata.metrics.evaluation.ranking,
        sampled_users=metadata.metrics.evaluation.sampled_users,
        recipe=Recipe(metadata.trainer, metadata.random_state, metadata.ranker),
        git_commit=metadata.git_commit,
        telemetry=telemetry,
    )


def drift(now: DataSummary, before: DataSummary) -> Drift:
    """The change of the data between two versions."""
    new, old = now.ratings.distribution, before.ratings.distribution
    return Drift(
        rating_psi=stability_index(new, old),
        rating_mean=_mean(new) - _mean(old),
        new_users=now.users - before.users,
        new_films=now.films - before.films,
    )


def stability_index(new: Mapping[str, int], old: Mapping[str, int]) -> float:
    """The population stability index of two distributions: 0 for the same shares, without an upper end."""
    totals = max(sum(new.values()), 1), max(sum(old.values()), 1)
    moved = 0.0
    for value in {*new, *old}:
        share = max(new.get(value, 0) / totals[0], LEAST_SHARE)
        share_before = max(old.get(value, 0) / totals[1], LEAST_SHARE)
        moved += (share - share_before) * log(share / share_before)
    return moved


def lines(report: VersionReport) -> list[str]:
    """The report as lines for log and mail, the main numbers first."""
    counts, data, gate = report.lines, report.data, report.gate
    rejected = Counter(counts.rejected)
    text = [
        f"RMSE {gate.rmse:.3f} +- {gate.spread:.3f} ({gate.measured_on})",
        *(f"{name}: NDCG@10 {of.ndcg_at_10:.3f}, Recall@20 {of.recall_at_20:.3f}" for name, of in report.ranking.items()),
        *([] if report.sampled_users is None else [sample_line(report.sampled_users)]),
        f"{counts.count:,} lines: {counts_text(Counter(counts.kinds))}",
        f"{counts.repaired:,} repaired, {rejected.total():,} rejected {counts_text(rejected)}".rstrip(),
        f"{data.users:,} users, {data.films:,} films, {data.ratings.pairs:,} ratings",
        f"{data.ratings.duplicates:,} rows rate a film again: the latest rating of a user and a film counts",
    ]
    text += [f"LOST: retention removed offsets {gap.start} to {gap.stop - 1} of {gap.source} unread" for gap in counts.gaps]
    if counts.left_unread:
        text.append(f"{counts.left_unread:,} lines of the stream are left unread")
    return [*text, *clock_lines(report), *_drift_lines(report.drift)]


def clock_lines(report: VersionReport) -> list[str]:
    """The warning that this version is dated before the last one, because the clock was set back; else nothing.

    The times stay as the clock gave them, because the report cannot know which of the two is wrong.
    """
    now, last = report.trained_on, report.last_trained_on
    if last is None or now >= last:
        return []
    return [f"the clock was SET BACK: this version is of {now}, the last one of {last}. Check which of the two is wrong"]


def _drift_lines(moved: Drift | None) -> list[str]:
    if moved is None:
        return []
    verdict = "the ratings have moved" if moved.rating_psi >= MOVED else "the ratings are as before"
    return [
        f"{verdict}: PSI {moved.rating_psi:.3f}, mean {moved.rating_mean:+.3f}",
        f"{moved.new_users:+,} users, {moved.new_films:+,} films since the last version",
    ]


def _mean(distribution: Mapping[str, int]) -> float:
    return sum(float(value) * count for value, count in distribution.items()) / max(sum(distribution.values()), 1)
