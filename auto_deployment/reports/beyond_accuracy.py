"""The report of a version beyond its accuracy: which films its lists show to which users, and whether watches follow them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.common.json_file import StateError, Stored, read_typed, write_json_synced, write_synced
from auto_deployment.common.templates import render
from auto_deployment.ingestion.users import demographics
from auto_deployment.reports import exposure, feedback_loop, quality_by_group
from auto_deployment.reports.exposure import Exposure
from auto_deployment.reports.feedback_loop import NewWatches
from auto_deployment.reports.previous_version import load_previous, read_shown, write_shown
from auto_deployment.reports.quality_by_group import Quality, StepQuality

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from app.model import Array, ServingModel
    from auto_deployment.evaluation.held_out import HeldOut
    from auto_deployment.ranking.ranker import Popularity
    from auto_deployment.training.dataset import Dataset
    from auto_deployment.training.seen import Seen

log = logging.getLogger(__name__)

MOST_SHOWN = 100
VERSIONS = (1, 3, 10)
TREND = 30


class FeedbackLoop(Stored):
    """The watches since the last version, and the `overlap` of its lists with the new ones; None without its model."""

    last_version: int | None
    watched: NewWatches
    overlap: float | None


class BeyondAccuracyReport(Stored):
    """The file `beyond_N.json`.

    `most_shown` has films with their share of all places. `never_shown` has, by a number of versions, how many films were in no
    list of the last so many; None where fewer versions were recorded.
    """

    version: int
    trained_on: str
    ranker: str
    watch_rows: int | None = None  # of reports by software before 1.1, which counted rows in place of versions
    exposure: Exposure
    most_shown: list[tuple[str, float]]
    quality: Quality
    steps: dict[str, StepQuality]
    loop: FeedbackLoop
    never_shown: dict[str, int | None]


class VersionLists(NamedTuple):
    """A version's lists, and the inputs that made them."""

    version: int
    trained_on: str
    ranker: str
    seed: int
    dataset: Dataset
    seen: Seen
    popularity: Popularity
    serving: Mapping[str, Array]


def path(data: Path, version: int) -> Path:
    """The report's file of a version. Its page lies next to it."""
    return data / "versioning" / f"beyond_{version}.json"


def read(data: Path, version: int) -> BeyondAccuracyReport | None:
    """The report of a version. None where there is no file, and with a warning where the file does not fit."""
    try:
        return read_typed(path(data, version), BeyondAccuracyReport)
    except StateError as error:
        log.warning("%s", error)
        return None


def write(data: Path, lists: VersionLists, held_out: HeldOut) -> BeyondAccuracyReport:
    """Write the report and its page before the model in `data` is replaced. Returns the report.

    A run that was killed afterwards writes the same report again: the comparison with the last version is kept.
    """
    last, own = load_previous(data, lists.version), read(data, lists.version)
    before = read(data, lists.version - 1 if last is None else last.version)
    counts = exposure.exposures(lists.serving["top"], len(lists.dataset.films))
    shown = read_shown(data, lists.version).with_lists(lists.version, lists.dataset.films, counts)
    labels = demographics.labels(demographics.read(data), held_out.users)
    report = BeyondAccuracyReport(
        version=lists.version,
        trained_on=lists.trained_on,
        ranker=lists.ranker,
        exposure=exposure.measure(lists.serving["top"], counts, lists.seen, lists.popularity),
        most_shown=most_shown(lists.dataset.films, counts),
        quality=quality_by_group.by_group(held_out, lists.ranker, labels, lists.seed),
        steps=quality_by_group.by_step(held_out, lists.ranker, lists.seed),
        loop=own.loop if last is None and own is not None else _loop(lists, last, before),
        never_shown={str(count): shown.never(lists.version, lists.dataset.films, count) for count in VERSIONS},
    )
    write_json_synced(path(data, lists.version), report.model_dump(mode="json"))
    write_synced(path(data, lists.version).with_suffix(".html"), page(report, earlier(data, lists.version)).encode())
    write_shown(data, shown)
    return report


def page(report: BeyondAccuracyReport, before: list[BeyondAccuracyReport]) -> str:
    """The page of a report; `before` are the reports of earlier versions, the oldest first."""
    even = np.linspace(0, 1, len(report.exposure.curve)).tolist()
    return render("reports/beyond_accuracy.html", report=report, reports=[*before, report], even=even)


def most_shown(films: tuple[str, ...], counts: exposure.Counts) -> list[tuple[str, float]]:
    """The films that most lists show, with their share of all places; at most 100."""
    best = np.argsort(-counts, kind="stable")[:MOST_SHOWN]
    return [(films[at], round(float(counts[at] / counts.sum()), 6)) for at in best.tolist() if counts[at]]


def earlier(data: Path, version: int) -> list[BeyondAccuracyReport]:
    """The reports of at most 30 versions before `version`, the oldest first. A version without a report is left out."""
    reports = (read(data, number) for number in range(max(version - TREND, 0), version))
    return [report for report in reports if report is not None]


def _loop(lists: VersionLists, last: ServingModel | None, before: BeyondAccuracyReport | None) -> FeedbackLoop:
    """The comparison with the last version: its model is `last`, its report `before`; each is None where it is not here."""
    last_version = last.version if last is not None else before.version if before is not None else None
    watched, overlap = NewWatches(), None
    if last_version is not None:
        films = [film for film, _ in before.most_shown] if before is not None else []
        watched = feedback_loop.watched(feedback_loop.new_pairs(lists.dataset, last_version), last, films)
    if last is not None:
        overlap = feedback_loop.overlap(last, lists.dataset.users, lists.dataset.films, lists.serving["top"])
    return FeedbackLoop(last_version=None if last is None else last.version, watched=watched, overlap=overlap)


def lines(report: BeyondAccuracyReport) -> list[str]:
    """The report's main numbers as lines for log and mail."""
    shown, watched = report.exposure, report.loop.watched
    text = [
        f"lists show {shown.coverage:.1%} of the films, Gini {shown.gini:.2f}; novelty {shown.novelty:.1f} bits, of watched "
        f"and rated films {shown.history_novelty:.1f}; {shown.bare_popular:.1%} of the users get only the popular list",
        *_gaps(report.quality),
    ]
    if watched.in_own_list is not None:
        text.append(
            f"{watched.pairs:,} films watched since version {report.loop.last_version}: {watched.in_own_list:.1%} were in the "
            f"user's list, {watched.in_popular_list:.1%} in the popular one; {report.loop.overlap or 0:.0%} of a user's list "
            "was in the last one too"
        )
    return text


def _gaps(quality: Quality) -> list[str]:
    """The largest gap of each attribute in Recall@20."""
    gaps = [(name, splits["recall_at_20"].gap) for name, splits in quality.by.items()]
    return [
        f"by {name}: Recall@20 of {gap.highest} is above {gap.lowest} by {gap.interval.mean:.3f} ({gap.interval.low:.3f} to "
        f"{gap.interval.high:.3f}), by chance up to {gap.by_chance:.3f}"
        for name, gap in gaps
        if gap is not None
    ] or ["quality by age, gender and occupation: too few users with known ones"]
