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
from app.model import load_serving
from auto_deployment.common.progress import Progress
from auto_deployment.ingestion.users import demographics
from auto_deployment.ingestion.users.demographics import Person
from auto_deployment.pipeline.candidate import train_version
from auto_deployment.reports import beyond_accuracy
from auto_deployment.reports.beyond_accuracy import BeyondAccuracyReport
from tests.unit.auto_deployment.pipeline.test_pipeline_candidate import VERSION, collected
from tests.unit.auto_deployment.samples import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings

VOID = {"meta", "line", "rect", "circle", "path"}


class Two(NamedTuple):
    """Two versions of one data folder: the second has watches more, and explores. `said` is what the second run said."""

    settings: Settings
    first: dict[str, Any]
    second: dict[str, Any]
    said: str


def told(settings: Settings, number: int) -> dict[str, Any]:
    """A version's report as it lies there."""
    found: dict[str, Any] = json.loads(beyond_accuracy.path(settings.data_dir, number).read_bytes())
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Users 100 to 159 of the stream are known to be young or old, women or men, and 5 and 7 too, who did nothing yet."""
    folder = tmp_path_factory.mktemp("two")
    settings = collected(folder, stream(), ranker="popularity")
    people = {user: Person(20 if user % 2 else 50, "F" if user < 132 else "M", "artist") for user in (5, 7, *range(100, 160))}
    demographics.write(settings.data_dir, people)
    train_version(settings, VERSION, Progress(StringIO()))
    again = settings.model_copy(update={"explore_share": 0.5})
    model, said = load_serving(settings.data_dir / "model"), StringIO()
    user = int(model.users[0])
    watches = settings.data_dir / "clean_watch.csv"
    films = [model.films[model.top[0, 0]], model.films[model.top[0, 1]], "an+other+film+2026"]
    with watches.open("a") as file:
        file.writelines(f"{user},{film},5,2026-01-06T08:00:00\n" for film in films)
    train_version(again, VERSION._replace(number=8), Progress(said))
    return Two(again, told(settings, 7), told(settings, 8), said.getvalue())


def test_a_version_tells_what_its_lists_show(two: Two) -> None:
    """Figures of the lists as a service reads them, and the films that they show most."""
    shown, model = two.second["exposure"], load_serving(two.settings.data_dir / "model")
    films = {film for row in model.top[:, :20].tolist() for film in row} - {model.empty}
    assert shown["coverage"] == len(films) / len(model.films)
    assert (shown["users"], shown["bare_popular"]) == (len(model.users), 1.0)
    assert sum(share for _, share in two.second["most_shown"]) == pytest.approx(1, abs=1e-3)


def test_watches_since_the_last_version_are_held_against_its_lists(two: Two) -> None:
    """Two of three stood in the user's list; the first version has none to be held against."""
    assert (two.first["loop"]["last_version"], two.second["loop"]["last_version"]) == (None, 7)
    since = two.second["loop"]["watched"]
    assert (since["pairs"], since["in_own_list"]) == (3, pytest.approx(2 / 3))
    assert since["in_most_shown"] == pytest.approx(2 / 3)
    assert two.second["loop"]["overlap"] > 0.8
    assert "3 films watched since version 7: 66.7% were in the user's list" in two.said


def page(report: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
    """The page of a report as it lies there, after those of earlier versions."""
    read = BeyondAccuracyReport.model_validate
    return beyond_accuracy.page(read(report), [read(each) for each in before])


def test_without_the_last_model_its_report_tells_which_watches_are_new(two: Two, tmp_path: Path) -> None:
    """A clone has the reports and no model: what came since is told, without the lists of users."""
    watched = trained_in_a_clone(two, tmp_path)["loop"]["watched"]
    assert two.second["watch_rows"] == two.first["watch_rows"] + 3 == len(_rows(two.settings, "watch"))
    assert (watched["pairs"], watched["in_own_list"], watched["in_most_shown"]) == (3, None, pytest.approx(2 / 3))
    assert watched["gini"] == two.second["loop"]["watched"]["gini"]


def test_where_nothing_tells_what_was_there_before_new_watches_are_not_known(two: Two, tmp_path: Path) -> None:
    """Neither in the first version nor in a clone whose last report does not say it: all watches ever are not new ones."""
    without = trained_in_a_clone(two, tmp_path, told(two.settings, 7) | {"watch_rows": None})
    for version in (two.first, without):
        assert [version["loop"]["watched"][name] for name in ("pairs", "gini", "top_1_percent", "in_most_shown")] == [None] * 4
        shown = " ".join(" ".join(parsed(page(version, [])).texts).split())
        assert "Nothing was compared" in shown
        assert "dvc pull data/model" in shown
        assert "films watched since" not in shown
    assert "films watched since" not in " ".join(beyond_accuracy.lines(BeyondAccuracyReport.model_validate(without)))


def trained_in_a_clone(two: Two, folder: Path, last: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The report of the second version where there is no model of the first; `last` is the first one's report."""
    settings = two.settings.model_copy(update={"data_dir": folder / "data"})
    shutil.copytree(two.settings.data_dir, settings.data_dir, ignore=shutil.ignore_patterns("model", "beyond_8.*"))
    if last is not None:
        beyond_accuracy.path(settings.data_dir, 7).write_text(json.dumps(last))
    train_version(settings, VERSION._replace(number=8), Progress(StringIO()))
    return told(settings, 8)


def test_films_in_no_list_are_counted_once_there_are_enough_versions(two: Two) -> None:
    """Of one version alone nothing is said of the last three."""
    unseen = two.second["never_shown"]["1"]
    assert unseen == round((1 - two.second["exposure"]["coverage"]) * two.second["exposure"]["films"])
    assert two.second["never_shown"]["3"] is None


def test_quality_is_told_by_what_is_known_of_users(two: Two) -> None:
    """For everybody and for groups that are large enough, on rows that were held out."""
    quality = two.second["quality"]
    assert set(quality["by"]) == {"age", "gender", "occupation"}
    mean, low, high = quality["all"]["recall_at_20"]
    assert 0 < low <= mean <= high <= 1
    assert sum(quality["by"]["gender"]["rmse"]["users"].values()) <= 60
    assert quality["all"]["rmse"][0] < 1
    assert sum(each["users"] for each in two.second["steps"].values()) >= quality["users"]


def test_a_killed_run_makes_the_same_report_again(two: Two) -> None:
    """Its own model lies there then: what was compared with the last version stays."""
    before, shown = told(two.settings, 8), (two.settings.data_dir / "shown.json").read_bytes()
    train_version(two.settings, VERSION._replace(number=8), Progress(StringIO()))
    assert told(two.settings, 8) == before
    assert (two.settings.data_dir / "shown.json").read_bytes() == shown


def test_a_version_with_a_share_explores_and_one_without_does_not(two: Two) -> None:
    """The share is the version's: the candidates stand in its artifact, none that the user has seen or has in the list."""
    model = load_serving(two.settings.data_dir / "model")
    assert isinstance(recommender_of(model), Exploring)
    assert model.metadata["explore_share"] == 0.5
    assert model.explore is not None
    for user, row in zip(model.users.tolist(), model.explore.tolist(), strict=True):
        films = {model.films[film] for film in row if film != model.empty}
        assert not films & _seen(two.settings, user)


def _rows(settings: Settings, name: str) -> list[str]:
    return (settings.data_dir / f"clean_{name}.csv").read_text().splitlines()[1:]


def _seen(settings: Settings, user: int) -> set[str]:
    rows = [row.split(",") for name in ("rating", "watch") for row in _rows(settings, name)]
    return {row[1] for row in rows if row[0] == str(user)}


class Strict(HTMLParser):
    """Checks that tags are closed in order, and that nothing is asked of a network."""

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


def test_the_page_needs_no_network_and_tells_what_the_report_tells(two: Two) -> None:
    """Plots over both versions among it."""
    text = beyond_accuracy.path(two.settings.data_dir, 8).with_suffix(".html").read_text()
    shown = " ".join(" ".join(parsed(text).texts).split())
    assert "Version 8, ranked by popularity" in shown
    assert "From version to version" in shown
    assert text.count("<svg") >= 5
    assert f"{two.second['exposure']['gini']:.3f}" in shown
    assert two.second["most_shown"][0][0] in shown


def test_words_of_others_are_escaped(two: Two) -> None:
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


def test_a_figure_that_is_not_to_be_had_is_a_gap_not_a_zero(two: Two) -> None:
    """In the first version nothing was watched since the one before."""
    text = page(two.second, [two.first])
    assert "From version to version" in text
    assert re.search(r"\bnan\b", text, re.IGNORECASE) is None
    first = page(two.first, [])
    assert "From version to version" not in first
    assert "Nothing was compared" in first
    assert np.isfinite(two.second["loop"]["watched"]["gini"])
