"""Lines over time, or over something else, as inline SVG. Pure."""

from __future__ import annotations

from html import escape
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 900, 220
LEFT, RIGHT, TOP, BOTTOM = 70, 10, 30, 30
COLOURS = ("#c0392b", "#2471a3", "#7d6608", "#117864")
GRID = "#dddddd"
LINES = 4


class Line(NamedTuple):
    """A name and a value for each time; a value that is no number is a gap."""

    name: str
    values: Sequence[float]


def chart(
    title: str, unit: str, minutes: Sequence[float], lines: Sequence[Line], limit: float | None = None, axis: str = "min"
) -> str:
    """A figure of `lines` over `minutes`, or numbers from 0 of another unit `axis`, with `limit` across it."""
    known = [value for line in lines for value in line.values if isfinite(value)]
    top = max([*known, limit or 0.0, 1e-9]) * 1.05
    last = max([*minutes, 1e-9])
    parts = [_grid(top, last, unit, axis), *(_line(line, minutes, last, top, COLOURS[n % 4]) for n, line in enumerate(lines))]
    if limit is not None:
        parts.append(_across(_y(limit, top)))
    return (
        f"<figure><figcaption>{escape(title)} {_legend(lines, limit)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _x(minute: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * minute / last


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(value, 0.0), top) / top


def _grid(top: float, last: float, unit: str, axis: str) -> str:
    rows = []
    for number in range(LINES + 1):
        value, minute = top * number / LINES, last * number / LINES
        y, x = _y(value, top), _x(minute, last)
        rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        rows.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g} {escape(unit)}</text>')
        rows.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{minute:.3g} {escape(axis)}</text>')
    return "".join(rows)


def _line(line: Line, minutes: Sequence[float], last: float, top: float, colour: str) -> str:
    """Its runs between gaps, and a dot for each value."""
    runs: list[list[str]] = [[]]
    for minute, value in zip(minutes, line.values, strict=True):
        if isfinite(value):
            runs[-1].append(f"{_x(minute, last):.1f},{_y(value, top):.1f}")
        elif runs[-1]:
            runs.append([])
    drawn = [f'<polyline points="{" ".join(run)}" fill="none" stroke="{colour}" stroke-width="1.5"/>' for run in runs if run]
    dots = [
        f'<circle cx="{at.partition(",")[0]}" cy="{at.partition(",")[2]}" r="1.6" fill="{colour}"/>'
        for run in runs
        for at in run
    ]
    return "".join(drawn + dots)


def _across(y: float) -> str:
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#000000" stroke-dasharray="6 4"/>'


def _legend(lines: Sequence[Line], limit: float | None) -> str:
    names = [f'<b style="color:{COLOURS[n % 4]}">&#9632; {escape(line.name)}</b>' for n, line in enumerate(lines)]
    return " ".join([*names, *(["- - limit"] if limit is not None else [])])
