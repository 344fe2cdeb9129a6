"""The metrics of online evaluation as lines of text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.common.output import align_columns

if TYPE_CHECKING:
    from auto_deployment.online_evaluation.metrics import OnlineMetrics, TrackMetrics
    from auto_deployment.online_evaluation.share_intervals import ConfidenceInterval

TITLES = ("version", "track", "answers", "users", "watched", "popularity", "above it")


def table(metrics: OnlineMetrics) -> list[str]:
    """A table with a row for each version and track, and lines for the requests that it leaves out."""
    if not metrics.days:
        return ["no recommendation of ours is kept: nothing was collected yet"]
    return [
        f"{metrics.days[0]} to {metrics.days[-1]}, the stream known until {metrics.until and metrics.until.isoformat()}",
        f"{metrics.requests:,} requests: {metrics.failed:,} failed, {metrics.young:,} too young to be judged, "
        f"{metrics.judged:,} judged by what was begun within {metrics.hours:g} h, "
        f"{metrics.judged - metrics.matched:,} of these not found in the provenance",
        *(align_columns([TITLES, *map(_row, metrics.groups)]) if metrics.groups else []),
        *_uplift(metrics),
    ]


def summary(metrics: OnlineMetrics | None) -> list[str]:
    """Lines for a mail, one for each version and track. No lines without metrics."""
    if metrics is None:
        return []
    groups = [
        f"watched within {metrics.hours:g} h, version {each.version} {each.track}: {_share(each.watched)} of "
        f"{each.answers:,} answers, compared with popularity {_points(each.above)}"
        for each in metrics.groups
        if each.version is not None
    ]
    counts = [
        ("failed", metrics.failed),
        ("too young", metrics.young),
        ("not in provenance", metrics.judged - metrics.matched),
    ]
    left_out = ", ".join(f"{count:,} {name}" for name, count in counts if count)
    return [*groups, f"{metrics.requests:,} requests in the telemetry" + (f", of these {left_out}" if left_out else "")]


def _uplift(metrics: OnlineMetrics) -> list[str]:
    uplift, viewings = metrics.uplift, metrics.viewings
    if uplift is None:
        return []
    return [
        f"being shown multiplies a film's odds by {1 + uplift.value:.2f} ({1 + uplift.low:.2f} to {1 + uplift.high:.2f}): "
        f"{viewings.after_an_answer:,} films begun after an answer, {viewings.without:,} without one"
    ]


def _row(group: TrackMetrics) -> tuple[str, ...]:
    version = "not found" if group.version is None else str(group.version)
    shares = (_share(group.watched), _share(group.popular), _points(group.above))
    return (version, group.track or "-", f"{group.answers:,}", f"{group.users:,}", *shares)


def _share(interval: ConfidenceInterval | None) -> str:
    return "-" if interval is None else f"{interval.value:.2%} ({interval.low:.2%} to {interval.high:.2%})"


def _points(interval: ConfidenceInterval | None) -> str:
    if interval is None:
        return "not known"
    return f"{100 * interval.value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f}) points"
