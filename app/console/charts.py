"""Curves for the pages: series over a span of time, as the chart library takes them."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, NamedTuple

from app.console.texts import list_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.console.prometheus import Prometheus, Series

MOST_POINTS = 240
LEAST_STEP = 15.0
# A chart of a young stack begins with its first value, but is never shorter.
FEWEST_POINTS = 8


class Curve(NamedTuple):
    """A chart to draw: its title and unit, a query, the label that names a series, and the factor from Prometheus's unit."""

    title: str
    unit: str
    query: str
    label: str | Callable[[Series], str]
    factor: float = 1.0


class Chart(NamedTuple):
    """A drawn curve: `times` in seconds since 1970, and for each name a value at each time; None where there is none."""

    title: str
    unit: str
    times: list[float]
    lines: dict[str, list[float | None]]

    @property
    def is_empty(self) -> bool:
        """Whether no series has a value."""
        return not any(value is not None for line in self.lines.values() for value in line)

    @property
    def first(self) -> int:
        """The place of the first time with a value; beyond the last one where there is none."""
        known = (at for line in self.lines.values() for at, value in enumerate(line) if value is not None)
        return min(known, default=len(self.times))

    def since(self, first: int) -> Chart:
        """The chart from its time at `first` on."""
        return self._replace(times=self.times[first:], lines={name: line[first:] for name, line in self.lines.items()})

    def data(self) -> dict[str, object]:
        """What the script of the page draws."""
        return {"unit": self.unit, "names": list(self.lines), "data": [self.times, *self.lines.values()]}

    def newest(self) -> list[tuple[str, float | None]]:
        """The last value of each line, for those who do not see the curve."""
        return [
            (name, next((value for value in reversed(line) if value is not None), None)) for name, line in self.lines.items()
        ]


QUANTILES = (
    'label_replace(nginx_answer_seconds:p50_5m, "q", "median", "", "") '
    'or label_replace(nginx_answer_seconds:p99_5m, "q", "99 of 100", "", "")'
)
CLIENTS = (
    Curve("Answers a second", "1/s", "nginx_answers:rate5m", lambda _: "answers"),
    Curve("Time of an answer, as clients see it", "ms", QUANTILES, "q", 1000),
    Curve("Failed answers", "%", "1 - nginx_answers_success:ratio_rate5m", lambda _: "failed", 100),
    Curve(
        "Answers by kind, a second",
        "1/s",
        "sum by (step) (rate(answers_total[5m]))",
        lambda each: list_name(each.labels.get("step", "")),
    ),
)
CANARY = (
    Curve("Mean time of a try", "ms", "service:nginx_try_seconds:mean5m", "service", 1000),
    Curve("99 of 100 tries take at most", "ms", "service:nginx_try_seconds:p99_5m", "service", 1000),
    Curve("Failed tries", "%", "service:nginx_try_errors:ratio_rate5m", "service", 100),
    Curve("Tries a second", "1/s", "service:nginx_tries:rate5m", "service"),
)


def draw(prometheus: Prometheus, curves: Sequence[Curve], start: float, end: float) -> list[Chart]:
    """The charts of curves from `start` to `end`, all from the first value of any on. Raises ProblemError."""
    step = max(LEAST_STEP, LEAST_STEP * -(-(end - start) // (LEAST_STEP * MOST_POINTS)))
    start = end - step * ((end - start) // step)
    times = [start + step * at for at in range(int((end - start) / step + 1.5))]
    charts = [_chart(curve, prometheus.over(curve.query, start, end, step), times) for curve in curves]
    first = min((chart.first for chart in charts), default=0)
    return [chart.since(min(first, max(0, len(times) - FEWEST_POINTS))) for chart in charts]


def _chart(curve: Curve, found: Sequence[Series], times: list[float]) -> Chart:
    lines: dict[str, list[float | None]] = {}
    for series in found:
        name = series.labels.get(curve.label, "") if isinstance(curve.label, str) else curve.label(series)
        by_time = {round(at): value for at, value in series.values.items()}
        lines[name] = [_scaled(by_time.get(round(at)), curve.factor) for at in times]
    return Chart(curve.title, curve.unit, times, dict(sorted(lines.items())))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None or isnan(value) else value * factor
