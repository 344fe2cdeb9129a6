from __future__ import annotations

import xml.etree.ElementTree as ET
from math import nan
from typing import Any

import pytest

from auto_deployment.common.errors import RunError
from auto_deployment.common.templates import MOST_TICKS, environment, render, round_ticks
from auto_deployment.ranking.metrics import Interval

# No digit of a common font is wider, in units of the chart.
CHARACTER = 8.0


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.3, [0, 0.1, 0.2, 0.3]),
        (0, 0.937, [0, 0.2, 0.4, 0.6, 0.8]),
        (0, 719, [0, 200, 400, 600]),
        (0, 1e-7, [0, 2e-8, 4e-8, 6e-8, 8e-8, 1e-7]),
        (7, 7, [7]),
    ],
)
def test_ticks_are_round_numbers_inside_the_data(low: float, high: float, ticks: list[float]) -> None:
    """They begin and end where the data do, or inside."""
    assert round_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("high", [10.0**power * factor for power in range(-9, 10) for factor in (1, 1.7, 3, 4.99, 9.1)])
def test_there_are_some_ticks_and_not_too_many_at_every_size(high: float) -> None:
    """None lies beyond the data."""
    ticks = round_ticks(0, high)
    assert 2 <= len(ticks) <= MOST_TICKS
    assert 0 <= ticks[0] <= ticks[-1] <= high


def test_versions_have_no_tick_between_whole_numbers() -> None:
    """Two versions have two ticks."""
    assert round_ticks(7, 8, least_step=1) == [7, 8]
    assert round_ticks(3, 32, least_step=1) == [5, 10, 15, 20, 25, 30]


def macro(call: str, **values: Any) -> ET.Element:
    """What a call of a macro of charts draws, parsed."""
    template = "{% from 'common/charts.html' import bar, bar_scale, chart %}{{ " + call + " }}"
    return ET.fromstring(environment().from_string(template).render(values))  # noqa: S314 - our own


def drawn(**arguments: Any) -> ET.Element:
    """A chart's figure."""
    return macro("chart('Title & more', 'minutes', 'ms', **arguments)", arguments=arguments)


def bounds(text: ET.Element) -> tuple[float, float]:
    """From where to where a text goes."""
    long, at = CHARACTER * len(text.text or ""), float(text.attrib["x"])
    start = at - {"start": 0.0, "middle": long / 2, "end": long}[text.get("text-anchor", "start")]
    return start, start + long


@pytest.mark.parametrize(
    ("x", "lines", "more"),
    [
        ([0.0, 0.5, 1.0], {"a": [0.0, 1.0, 0.7]}, {"percent": True, "x_percent": True}),
        ([0.0, 719.0, 1440.0], {"a": [0.00021, 0.00077, None], "b": [nan, nan, nan]}, {}),
        ([0.0, 1.0], {"a": [1234567.0, 2.0]}, {"limit": 8e5}),
        ([7.0, 8.0, 9.0], {"a": [0.0, 0.0, 0.0]}, {"whole": True}),
        ([0.0], {"a": [3.0]}, {}),
        ([1.0, 2.0], {}, {"limit": 1.0}),
    ],
)
def test_every_label_of_a_chart_lies_inside_its_picture(x: list[float], lines: dict[str, Any], more: dict[str, Any]) -> None:
    """Both axes have a title, and no tick lies beyond the last value."""
    svg = drawn(x=x, lines=lines, **more).find("svg")
    assert svg is not None
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    texts = svg.findall("text")
    assert [each.text for each in texts[:2]] == ["ms", "minutes"]
    for each in texts:
        start, end = bounds(each)
        assert 0 <= start <= end <= width, each.text
        assert 10 <= float(each.attrib["y"]) + float(each.get("dy", 0)) <= height
    factor = 100 if more.get("x_percent") else 1
    ticks = [float((each.text or "").replace(",", "")) for each in texts if each.get("text-anchor") == "middle"]
    assert factor * min(x) <= ticks[0] <= ticks[-1] <= factor * max(x)


def test_a_chart_leaves_a_gap_where_a_value_is_not_known() -> None:
    """The limit is drawn, each known value is a dot, and each run is a path of its own."""
    figure = drawn(x=[0.0, 1.0, 2.0, 3.0], lines={"<b>": [1.0, nan, 2.0, 3.0]}, limit=5.0)
    svg = figure.find("svg")
    assert svg is not None
    path = svg.find("path")
    assert path is not None
    assert path.attrib["d"].count("M") == 2
    assert "h0" in path.attrib["d"]
    assert len(svg.findall("circle")) == 3
    assert len(svg.findall("line[@class='limit']")) == 1
    assert "<b>" in "".join(figure.itertext())
    assert svg.attrib["aria-label"] == "Title & more"


def test_bars_have_the_scale_of_their_column() -> None:
    """A bar ends below its number, and every number is inside."""
    scale = macro("bar_scale(0.35)")
    texts = scale.findall("text")
    assert [each.text for each in texts] == ["0", "0.1", "0.2", "0.3"]
    assert all(0 <= bounds(each)[0] <= bounds(each)[1] <= 256 for each in texts)
    svg = macro("bar(interval, 0.35)", interval=Interval(0.3, 0.2, 0.35))
    mean, error = svg.find("rect"), svg.find("line")
    assert mean is not None
    assert error is not None
    assert float(mean.attrib["x"]) + float(mean.attrib["width"]) == pytest.approx(float(texts[3].attrib["x"]), abs=0.2)
    assert error.attrib["x1"] == texts[2].attrib["x"]


def test_a_template_without_its_value_is_an_error_that_names_it() -> None:
    """A page with a hole is not written."""
    with pytest.raises(RunError, match=r"provenance/answer\.html: cannot be filled \('chain' is undefined\)"):
        render("provenance/answer.html", sections=[])
