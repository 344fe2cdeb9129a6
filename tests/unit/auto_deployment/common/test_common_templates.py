from __future__ import annotations

import xml.etree.ElementTree as ET
from math import nan
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common import templates
from auto_deployment.common.errors import RunError
from auto_deployment.common.templates import MOST_TICKS, render, round_ticks

if TYPE_CHECKING:
    from pathlib import Path

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


def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> ET.Element:
    """A chart's figure, parsed."""
    folder = tmp_path / "templates"
    (folder / "common").mkdir(parents=True)
    source = templates.FOLDER / "common" / "charts.html"
    (folder / "common" / "charts.html").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    call = "{% from 'common/charts.html' import chart %}{{ chart('Title & more', 'minutes', 'ms', **arguments) }}"
    (folder / "page.html").write_text(call)
    monkeypatch.setattr(templates, "FOLDER", folder)
    templates.environment.cache_clear()
    try:
        return ET.fromstring(render("page.html", arguments=arguments))  # noqa: S314 - our own
    finally:
        templates.environment.cache_clear()


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
def test_every_label_of_a_chart_lies_inside_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: list[float], lines: dict[str, Any], more: dict[str, Any]
) -> None:
    """Both axes have a title, and no tick lies beyond the last value."""
    svg = drawn(tmp_path, monkeypatch, x=x, lines=lines, **more).find("svg")
    assert svg is not None
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    texts = svg.findall("text")
    assert [each.text for each in texts[:2]] == ["ms", "minutes"]
    for each in texts:
        long, at = CHARACTER * len(each.text or ""), float(each.attrib["x"])
        start = at - {"start": 0.0, "middle": long / 2, "end": long}[each.get("text-anchor", "start")]
        assert 0 <= start <= start + long <= width, each.text
        assert 10 <= float(each.attrib["y"]) + float(each.get("dy", 0)) <= height
    factor = 100 if more.get("x_percent") else 1
    ticks = [float((each.text or "").replace(",", "")) for each in texts if each.get("text-anchor") == "middle"]
    assert factor * min(x) <= ticks[0] <= ticks[-1] <= factor * max(x)


def test_a_chart_leaves_a_gap_where_a_value_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is drawn, each known value is a dot, and each run is a path of its own."""
    figure = drawn(tmp_path, monkeypatch, x=[0.0, 1.0, 2.0, 3.0], lines={"<b>": [1.0, nan, 2.0, 3.0]}, limit=5.0)
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


def test_a_template_without_its_value_is_an_error_that_names_it() -> None:
    """A page with a hole is not written."""
    with pytest.raises(RunError, match=r"provenance/answer\.html: cannot be filled \('chain' is undefined\)"):
        render("provenance/answer.html", sections=[])
