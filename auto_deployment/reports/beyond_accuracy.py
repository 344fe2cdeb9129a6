"""The report of a version beyond its accuracy: what its lists show to whom, and whether they feed on themselves."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from auto_deployment.common.json_file import read_json, write_json_synced, write_synced
from auto_deployment.ingestion.users import table
from auto_deployment.reports import exposure, feedback_loop, quality_by_group
from auto_deployment.reports.beyond_accuracy_page import page
from auto_deployment.reports.previous_version import read_model, read_shown, write_shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from app.model import Array, ServingModel
    from auto_deployment.evaluation.held_out import HeldOut
    from auto_deployment.ranking.ranker import Popularity, Seen
    from auto_deployment.training.dataset import Dataset

MOST_SHOWN = 100
VERSIONS = (1, 3, 10)
TREND = 30


class Made(NamedTuple):
    """A version's lists, and what they were made from."""

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


def write(data: Path, made: Made, held_out: HeldOut) -> dict[str, Any]:
    """Make the report and its page, before the model in `data` is replaced; the report.

    A run that was killed after that does it again with the same outcome: what compares with the last version stays.
    """
    own = path(data, made.version)
    last, again = read_model(data, made.version), read_json(own)
    before = read_json(path(data, made.version - 1 if last is None else last.version)) or {}
    counts = exposure.exposures(made.serving["top"], len(made.dataset.films))
    shown = read_shown(data, made.version).with_lists(made.version, made.dataset.films, counts)
    people = table.labels(table.read(data), made.dataset.users)
    told = {
        "version": made.version,
        "trained_on": made.trained_on,
        "ranker": made.ranker,
        "watch_rows": made.dataset.rows["watches"],
        "exposure": asdict(exposure.measure(made.serving["top"], counts, made.seen, made.popularity)),
        "most_shown": most_shown(made.dataset.films, counts),
        "quality": quality_by_group.by_group(held_out, made.ranker, people, made.seed),
        "steps": quality_by_group.by_step(held_out, made.ranker, made.seed),
        "loop": again["loop"] if last is None and again is not None else _loop(made, last, before),
        "never_shown": {str(many): shown.never(made.version, made.dataset.films, many) for many in VERSIONS},
    }
    write_json_synced(own, told)
    write_synced(own.with_suffix(".html"), page(told, earlier(data, made.version)).encode())
    write_shown(data, shown)
    return told


def most_shown(films: tuple[str, ...], counts: exposure.Counts) -> list[list[Any]]:
    """The films that most lists show, with their share of all places; at most 100."""
    best = np.argsort(-counts, kind="stable")[:MOST_SHOWN]
    return [[films[at], round(float(counts[at] / counts.sum()), 6)] for at in best.tolist() if counts[at]]


def earlier(data: Path, version: int) -> list[dict[str, Any]]:
    """The reports of the versions before, the oldest first, those that are there."""
    found = [read_json(path(data, number)) for number in range(max(version - TREND, 0), version)]
    return [each for each in found if each is not None]


def _loop(made: Made, last: ServingModel | None, before: Mapping[str, Any]) -> dict[str, Any]:
    """What was watched since the last version; `before` is its report, empty where it is not there."""
    rows_before, most = _rows_before(last, before), [film for film, _ in before.get("most_shown", [])]
    found = (
        feedback_loop.Watched()
        if rows_before is None
        else feedback_loop.watched(feedback_loop.new_pairs(made.dataset, rows_before), last, most)
    )
    return {
        "last_version": None if last is None else last.version,
        "watched": asdict(found),
        "overlap": None
        if last is None
        else feedback_loop.overlap(last, made.dataset.users, made.dataset.films, made.serving["top"]),
    }


def _rows_before(last: ServingModel | None, before: Mapping[str, Any]) -> int | None:
    """The rows that the table of watches had in the last version, by its report or by its model; None where neither says it."""
    told: int | None = before.get("watch_rows")
    if told is None and last is not None:
        told = last.metadata.get("data", {}).get("clean_watch.csv", {}).get("rows")
    return told


def lines(told: Mapping[str, Any]) -> list[str]:
    """The report as a person reads it on a phone."""
    shown, after = told["exposure"], told["loop"]
    text = [
        f"lists show {shown['coverage']:.1%} of the films, Gini {shown['gini']:.2f}; novelty {shown['novelty']:.1f} bits, of "
        f"what is seen {shown['history_novelty']:.1f}; {shown['bare_popular']:.1%} of the users get the bare popular list",
        *_gaps(told["quality"]),
    ]
    own, popular = after["watched"]["in_own_list"], after["watched"]["in_popular_list"]
    if own is not None:
        text.append(
            f"{after['watched']['pairs']:,} films watched since version {after['last_version']}: {own:.1%} stood in the user's "
            f"list, {popular:.1%} in the popular one; lists overlap with the last by {after['overlap'] or 0:.0%}"
        )
    return text


def _gaps(measured: Mapping[str, Any]) -> list[str]:
    """The largest gap of each attribute in Recall@20."""
    found: Sequence[tuple[str, Any]] = [(name, each["recall_at_20"]["gap"]) for name, each in measured["by"].items()]
    known = [(name, gap) for name, gap in found if gap is not None]
    if not known:
        return ["quality by age, gender and occupation: too few users with known ones"]
    return [
        f"by {name}: Recall@20 {gap['highest']} above {gap['lowest']} by {gap['interval'][0]:.3f} ({gap['interval'][1]:.3f} to "
        f"{gap['interval'][2]:.3f}), by chance up to {gap['by_chance']:.3f}"
        for name, gap in known
    ]
