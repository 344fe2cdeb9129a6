from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from app.exploring import Exploring, recommender_of
from app.model import load_serving, md5_of
from auto_deployment.common.progress import Progress
from auto_deployment.ingestion.tables import Tables
from auto_deployment.ingestion.users import demographics
from auto_deployment.ingestion.users.demographics import Person
from auto_deployment.ingestion.watch_parts import roll
from auto_deployment.pipeline.candidate import train_version
from auto_deployment.reports import beyond_accuracy
from auto_deployment.reports.beyond_accuracy import BeyondAccuracyReport
from auto_deployment.training.pair_table import Source
from tests.unit.auto_deployment.pipeline.test_pipeline_candidate import VERSION, collected
from tests.unit.auto_deployment.samples import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings

VOID = {"meta", "line", "rect", "circle", "path"}


class Two(NamedTuple):
    """Two versions of one data folder: the second has more watches, and explores. `output` is of the second run."""

    settings: Settings
    first: dict[str, Any]
    second: dict[str, Any]
    output: str


def stored(settings: Settings, number: int) -> dict[str, Any]:
    """A version's report as the file has it."""
    report: dict[str, Any] = json.loads(beyond_accuracy.path(settings.data_dir, number).read_bytes())
    return report


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Users 5, 7 and 100 to 159 have a known age and gender. Users 5 and 7 have no events."""
    folder = tmp_path_factory.mktemp("two")
    settings = collected(folder, stream(), ranker="popularity")
    people = {user: Person(20 if user % 2 else 50, "F" if user < 132 else "M", "artist") for user in (5, 7, *range(100, 160))}
    demographics.write(settings.data_dir, people)
    train(settings, 7, StringIO())
    again = settings.model_copy(update={"explore_share": 0.5})
    model, output = load_serving(settings.data_dir / "model"), StringIO()
    user = int(model.users[0])
    films = [model.films[model.top[0, 0]], model.films[model.top[0, 1]], "an+other+film+2026"]
    with (settings.data_dir / "open_watch.csv").open("a") as file:
        file.writelines(f"{user},{film},5,2026-01-06T08:00:00,2026-01-06T08:05:00\n" for film in films)
    train(again, 8, output)
    return Two(again, stored(settings, 7), stored(settings, 8), output.getvalue())


def train(settings: Settings, number: int, output: StringIO) -> None:
    """Train a version on the tables. Version 8 has the last three rows of the watches in its own part."""
    tables = Tables(settings.data_dir)
    rows = tables.watches.read_text().splitlines()
    parts = {7: rows[:-3], 8: [rows[0], *rows[-3:]]} if number == 8 else {7: rows}
    files = {each: settings.data_dir / f"clean_watch_{each}.parquet" for each in parts}
    for each, lines in parts.items():
        (settings.data_dir / "rows.csv").write_text("\n".join([*lines, ""]))
        roll(settings.data_dir / "rows.csv", files[each], settings.data_dir / "scratch")
    size = tables.ratings.stat().st_size
    source = Source(number, tables.ratings, size, lambda _: files, {path.name: md5_of(path) for path in files.values()})
    train_version(settings, VERSION._replace(number=number), source, Progress(output))


def test_a_report_has_what_its_lists_show(two: Two) -> None:
    """The numbers are of the lists that a service reads, and the most shown films are among them."""
    shown, model = two.second["exposure"], load_serving(two.settings.data_dir / "model")
    films = {film for row in model.top[:, :20].tolist() for film in row} - {model.empty}
    assert shown["coverage"] == len(films) / len(model.films)
    assert (shown["users"], shown["bare_popular"]) == (len(model.users), 1.0)
    assert sum(share for _, share in two.second["most_shown"]) == pytest.approx(1, abs=1e-3)


def test_new_watches_are_compared_with_the_lists_of_the_last_version(two: Two) -> None:
    """Two of three were in the user's list. The first version has no earlier lists."""
    assert (two.first["loop"]["last_version"], two.second["loop"]["last_version"]) == (None, 7)
    since = two.second["loop"]["watched"]
    assert (since["pairs"], since["in_own_list"]) == (3, pytest.approx(2 / 3))
    assert since["in_most_shown"] == pytest.approx(2 / 3)
    assert two.second["loop"]["overlap"] > 0.8
    assert "3 films watched since version 7: 66.7% were in the user's list" in two.output


def page(report: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
    """The page of a stored report; `before` are the reports of earlier versions."""
    read = BeyondAccuracyReport.model_validate
    return beyond_accuracy.page(read(report), [read(each) for each in before])


def test_without_the_last_model_its_report_says_which_watches_are_new(two: Two, tmp_path: Path) -> None:
    """A clone has reports and no model: new watches are counted, without users' own lists."""
    watched = trained_in_a_clone(two, tmp_path)["loop"]["watched"]
    assert (watched["pairs"], watched["in_own_list"], watched["in_most_shown"]) == (3, None, pytest.approx(2 / 3))
    assert watched["gini"] == two.second["loop"]["watched"]["gini"]


def test_of_the_first_version_new_watches_are_not_known(two: Two) -> None:
    """Not all of its watches are new ones."""
    first = two.first
    assert [first["loop"]["watched"][name] for name in ("pairs", "gini", "top_1_percent", "in_most_shown")] == [None] * 4
    shown = " ".join(" ".join(parsed(page(first, [])).texts).split())
    assert "Nothing was compared" in shown
    assert "dvc pull data/model" in shown
    assert "films watched since" not in shown
    assert "films watched since" not in " ".join(beyond_accuracy.lines(BeyondAccuracyReport.model_validate(first)))


def trained_in_a_clone(two: Two, folder: Path) -> dict[str, Any]:
    """The second version's report, without the model of the first version."""
    settings = two.settings.model_copy(update={"data_dir": folder / "data"})
    shutil.copytree(two.settings.data_dir, settings.data_dir, ignore=shutil.ignore_patterns("model", "beyond_8.*"))
    train(settings, 8, StringIO())
    return stored(settings, 8)


def test_films_in_no_list_are_counted_once_there_are_enough_versions(two: Two) -> None:
    """With one version recorded, the count of three versions is None."""
    unseen = two.second["never_shown"]["1"]
    assert unseen == round((1 - two.second["exposure"]["coverage"]) * two.second["exposure"]["films"])
    assert two.second["never_shown"]["3"] is None


def test_quality_is_measured_by_groups_and_by_films_known(two: Two) -> None:
    """For all users and for groups that are large enough, on held-out rows."""
    quality = two.second["quality"]
    assert set(quality["by"]) == {"age", "gender", "occupation"}
    mean, low, high = quality["all"]["recall_at_20"]
    assert 0 < low <= mean <= high <= 1
    assert sum(quality["by"]["gender"]["rmse"]["users"].values()) <= 60
    assert quality["all"]["rmse"][0] < 1
    assert sum(each["users"] for each in two.second["steps"].values()) >= quality["users"]


def test_a_killed_run_makes_the_same_report_again(two: Two) -> None:
    """The model is its own by then, so the comparison with the last version is kept."""
    before, shown = stored(two.settings, 8), (two.settings.data_dir / "shown.json").read_bytes()
    train(two.settings, 8, StringIO())
    assert stored(two.settings, 8) == before
    assert (two.settings.data_dir / "shown.json").read_bytes() == shown


def test_a_version_with_a_share_explores_and_one_without_does_not(two: Two) -> None:
    """The artifact has the share and the candidates, none of which the user knows or has in the list."""
    model = load_serving(two.settings.data_dir / "model")
    assert isinstance(recommender_of(model), Exploring)
    assert model.metadata["explore_share"] == 0.5
    assert model.explore is not None
    for user, row in zip(model.users.tolist(), model.explore.tolist(), strict=True):
        films = {model.films[film] for film in row if film != model.empty}
        assert not films & _seen(two.settings, user)


def _seen(settings: Settings, user: int) -> set[str]:
    tables = Tables(settings.data_dir)
    rows = [row.split(",") for path in (tables.ratings, tables.watches) for row in path.read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[0] == str(user)}


class Strict(HTMLParser):
    """Checks that tags are closed in order, and that no network is used."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open one."""
        assert tag not in {"script", "link", "img", "iframe"}
        assert not {name for name, _ in attrs} & {"src", "href", "onload"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last one."""
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep what is shown."""
        self.texts.append(data)


def parsed(text: str) -> Strict:
    """A page, checked."""
    strict = Strict()
    strict.feed(text)
    strict.close()
    assert strict.open == []
    return strict


def test_the_page_needs_no_network_and_shows_the_report(two: Two) -> None:
    """With charts over both versions."""
    text = beyond_accuracy.path(two.settings.data_dir, 8).with_suffix(".html").read_text()
    shown = " ".join(" ".join(parsed(text).texts).split())
    assert "Version 8, ranked by popularity" in shown
    assert "From version to version" in shown
    assert text.count("<svg") >= 5
    assert f"{two.second['exposure']['gini']:.3f}" in shown
    assert two.second["most_shown"][0][0] in shown


def test_hostile_text_is_escaped(two: Two) -> None:
    """An occupation comes from a service, a film from the stream."""
    evil = "<script>alert(1)</script>"
    split = {"groups": {evil: [0.5, 0.4, 0.6]}, "users": {evil: 40}, "too_small": {evil: 3}, "gap": None}
    changed = {
        **two.second,
        "most_shown": [[evil, 0.5]],
        "quality": {**two.second["quality"], "by": {evil: {"rmse": split}}},
    }
    assert sum(evil in text for text in parsed(page(changed, [])).texts) == 4
    assert evil not in page(changed, [])


def test_an_unknown_number_is_a_gap_and_not_a_zero(two: Two) -> None:
    """The first version has no new watches, and its page says why."""
    text = page(two.second, [two.first])
    assert "From version to version" in text
    assert re.search(r"\bnan\b", text, re.IGNORECASE) is None
    first = page(two.first, [])
    assert "From version to version" not in first
    assert "Nothing was compared" in first
    assert np.isfinite(two.second["loop"]["watched"]["gini"])
