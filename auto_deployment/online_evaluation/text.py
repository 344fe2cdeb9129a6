"""The figures as a person reads them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TITLES = ("version", "track", "answers", "users", "watched", "popularity", "above it")


def lines(told: Mapping[str, Any]) -> list[str]:
    """`Figures.to_dict` as a table, with what it leaves out."""
    if not told["days"]:
        return ["no recommendation of ours is kept: nothing was collected yet"]
    return [
        f"{told['days'][0]} to {told['days'][-1]}, the stream known until {told['until']}",
        f"{told['requests']:,} requests: {told['failed']:,} failed, {told['young']:,} too young to be judged, "
        f"{told['judged']:,} judged by what was begun within {told['hours']:g} h, "
        f"{told['judged'] - told['matched']:,} of these not found in the provenance",
        *(_table([TITLES, *map(_row, told["groups"])]) if told["groups"] else []),
        *_uplift(told),
    ]


def summary(told: Mapping[str, Any] | None) -> list[str]:
    """The figures for a mail: a line for each version and track; nothing where there are none."""
    if told is None:
        return []
    groups = [
        f"watched within {told['hours']:g} h, version {each['version']} {each['track']}: {_share(each['watched'])} of "
        f"{each['answers']:,} answers, compared with popularity {_points(each['above'])}"
        for each in told["groups"]
        if each["version"] is not None
    ]
    left = [("failed", told["failed"]), ("too young", told["young"]), ("not in provenance", told["judged"] - told["matched"])]
    said = ", ".join(f"{count:,} {name}" for name, count in left if count)
    return [*groups, f"{told['requests']:,} requests in the telemetry" + (f", of these {said}" if said else "")]


def _uplift(told: Mapping[str, Any]) -> list[str]:
    found, viewings = told["uplift"], told["viewings"]
    if found is None:
        return []
    odds = {name: 1 + value for name, value in found.items()}
    return [
        f"being shown multiplies a film's odds by {odds['value']:.2f} ({odds['low']:.2f} to {odds['high']:.2f}): "
        f"{viewings['after_an_answer']:,} films begun after an answer, {viewings['without']:,} without one"
    ]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(group: Mapping[str, Any]) -> tuple[str, ...]:
    version = "not found" if group["version"] is None else str(group["version"])
    shares = (_share(group["watched"]), _share(group["popular"]), _points(group["above"]))
    return (version, group["track"] or "-", f"{group['answers']:,}", f"{group['users']:,}", *shares)


def _share(interval: Mapping[str, float] | None) -> str:
    return "-" if interval is None else f"{interval['value']:.2%} ({interval['low']:.2%} to {interval['high']:.2%})"


def _points(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return "not known"
    return f"{100 * interval['value']:+.2f} ({100 * interval['low']:+.2f} to {100 * interval['high']:+.2f}) points"
