from __future__ import annotations

import hashlib
import json
import random
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from app.model import ArtifactError, load_rating, load_serving, md5_of, read_metadata
from app.provenance import tracking_row
from auto_deployment.common.errors import RefusedError
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import Settings
from auto_deployment.evaluation import evaluate
from auto_deployment.evaluation.champion import Recipe
from auto_deployment.ingestion.collect_with_progress import collect_files
from auto_deployment.ingestion.watch_parts import roll
from auto_deployment.pipeline import candidate
from auto_deployment.pipeline.candidate import Version
from auto_deployment.ranking.ranker_factory import NAMES, needed
from auto_deployment.sample import train_tables
from auto_deployment.training import trainers
from tests.unit.auto_deployment.samples import WATCH_ONLY, stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auto_deployment.evaluation.model_metadata import ModelMetadata

VERSION = Version(number=7, git_commit="c0ffee", data_creation="2026-01-05T09:00:00Z", trained_on="2026-01-05T09:10:00Z")
DAMAGED = ["2026-01-05T08:00:00,1x,GET /rate/alpha+beta+1950=4", "2026-01-05T08:00 :00,100,GET /rate/alpha+beta+1950=4"]


class Run(NamedTuple):
    """A candidate that was trained: where, from which lines, and what was output of it."""

    settings: Settings
    lines: list[str]
    metadata: ModelMetadata
    output: str

    @property
    def model(self) -> Path:
        """The artifact's folder."""
        return self.settings.data_dir / "model"

    def seen(self) -> dict[int, set[str]]:
        """The films that each user rated or watched, read from the lines themselves."""
        seen: dict[int, set[str]] = {}
        for line in self.lines:
            _, user, request = line.split(",")
            film = request.removeprefix("GET /rate/").removeprefix("GET /data/m/").replace("=", "/").split("/")[0]
            seen.setdefault(int(user), set()).add(film)
        return seen


def settings_in(folder: Path, **given: Any) -> Settings:
    """Settings of a data folder of its own."""
    return Settings(_env_file=None, data_dir=folder / "data", **given)


def collected(folder: Path, lines: list[str], **given: Any) -> Settings:
    """Settings of a data folder whose tables hold the lines."""
    settings = settings_in(folder, **given)
    path = folder / "movie.log"
    path.write_text("\n".join(lines) + "\n")
    collect_files([path], settings, Progress(StringIO()))
    return settings


def trained(folder: Path, **given: Any) -> Run:
    """A candidate of the generated stream."""
    lines, output = stream(), StringIO()
    settings = collected(folder, lines + DAMAGED, **given)
    return Run(settings, lines, train_tables(settings, VERSION, Progress(output)), output.getvalue())


def files(folder: Path) -> Mapping[str, bytes]:
    """Every file of an artifact."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A candidate with the default settings."""
    return trained(tmp_path_factory.mktemp("run"))


def lists(run: Run) -> dict[int, list[str]]:
    """Every known user's list, as a service reads it."""
    model = load_serving(run.model)
    rows = {int(user): row.tolist() for user, row in zip(model.users, model.top, strict=True)}
    return {user: [model.films[film] for film in row if film != model.empty] for user, row in rows.items()}


def test_lines_become_an_artifact_that_a_service_loads(run: Run) -> None:
    """All users and films of the stream, under the version's number."""
    model = load_serving(run.model)
    seen = run.seen()
    assert model.version == 7
    assert model.users.tolist() == sorted(seen)
    assert set(model.films) == set().union(*seen.values())
    factors = {"mean", "user_bias", "film_bias", "user_factors", "film_factors"}
    assert set(load_rating(run.model)) == {*factors, "popularity_films"}


def test_nobody_is_shown_what_they_saw(run: Run) -> None:
    """Rated or watched: each list is all the others, each once; who saw everything has an empty one."""
    films = set(load_serving(run.model).films)
    for user, shown in lists(run).items():
        assert len(shown) == len(set(shown))
        assert set(shown) == films - run.seen()[user]
    assert lists(run)[WATCH_ONLY[-1]] == []


def test_who_only_watched_is_a_known_user(run: Run) -> None:
    """With what is popular but for what they watched, in the same order for all of them."""
    first, *others = (lists(run)[user] for user in WATCH_ONLY[:-1])
    for other in others:
        assert [film for film in first if film in other] == [film for film in other if film in first]


def test_the_metadata_says_what_was_made_of_what(run: Run) -> None:
    """Every key of the contract, on the disk as it was returned."""
    stored = read_metadata(run.model)
    wanted = (
        "format version trained_on data_creation data_md5 data git_commit random_state rmse metrics trainer ranker packages"
    )
    assert set(wanted.split()) <= set(stored)
    assert {key: stored[key] for key in run.metadata.model_dump()} == json.loads(json.dumps(run.metadata.model_dump()))
    assert (stored["version"], stored["git_commit"]) == (7, "c0ffee")
    assert (stored["data_creation"], stored["trained_on"]) == ("2026-01-05T09:00:00Z", "2026-01-05T09:10:00Z")
    assert (stored["trainer"], stored["random_state"]) == ("surprise", 0)
    ratings, part = run.settings.data_dir / "clean_rating.csv", run.settings.data_dir / "clean_watch_0.parquet"
    roll(run.settings.data_dir / "open_watch.csv", part, run.settings.data_dir / "scratch")
    pairs = {tuple(line.split(",")[:2]) for line in (run.settings.data_dir / "open_watch.csv").read_text().splitlines()[1:]}
    listed = f"{md5_of(part)}  {part.name}\n"
    part.unlink()
    assert stored["data"] == {
        "clean_rating.csv": {"md5": md5_of(ratings), "rows": ratings.read_text().count("\n") - 1},
        "clean_watch": {"md5": hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest(), "rows": len(pairs)},
    }
    assert stored["data_md5"] == stored["data"]["clean_rating.csv"]["md5"]
    assert stored["rmse"] == stored["metrics"]["gate"]["rmse"] < 1
    assert stored["metrics"]["gate"]["passed"]
    assert stored["packages"]["scikit-surprise"] == "1.1.5"


def test_repeated_ratings_are_counted(run: Run) -> None:
    """Pairs, rows that rated one again, and the spread of those that count."""
    counts = run.metadata.ratings
    rows = run.metadata.data["clean_rating.csv"].rows
    assert counts.pairs + counts.duplicates == rows == 901
    assert 900 <= counts.pairs <= 901
    assert sum(counts.distribution.values()) == counts.pairs
    assert list(counts.distribution) == ["1", "2", "3", "4", "5"]


def test_automatic_choice_is_what_was_chosen_inside_the_data(run: Run) -> None:
    """It is output, and stands in the metadata with the figures and intervals of every ranker."""
    choice = run.metadata.metrics.choice
    assert run.metadata.ranker == choice.ranker
    assert list(choice.scores) == [*NAMES]
    for each in choice.scores.values():
        assert each.quality is not None
        mean, low, high = each.quality
        assert 0 < low <= mean <= high < 1
    assert f"ranked by {choice.ranker}, the best inside the data" in run.output
    assert "the gate passes the model" in run.output


def test_a_ranker_that_is_asked_for_is_taken(tmp_path: Path, run: Run) -> None:
    """Whatever is better; nothing but what it is made of is tuned, and the metadata tells of no other."""
    lists_by_ranker = {}
    for ranker in NAMES:
        tried = list(needed(ranker))
        (tmp_path / ranker).mkdir()
        other = trained(tmp_path / ranker, ranker=ranker)
        assert other.metadata.ranker == ranker
        assert f"ranked by {ranker}, as RANKER says\n" in other.output
        assert list(other.metadata.metrics.choice.scores) == tried
        assert list(other.metadata.metrics.evaluation.ranking) == tried
        lists_by_ranker[ranker] = lists(other)
    assert len({str(shown) for shown in lists_by_ranker.values()}) == len(NAMES)
    assert lists(run) == lists_by_ranker[run.metadata.ranker]


def test_the_same_lines_give_the_same_bytes(tmp_path: Path, run: Run) -> None:
    """Every array and the metadata, from the lines on."""
    assert files(trained(tmp_path).model) == files(run.model)


def test_a_refused_candidate_leaves_the_last_one_as_it_was(tmp_path: Path) -> None:
    """The reasons and the figures are output, and nothing is written: where there was no artifact there is none."""
    settings = collected(tmp_path, stream(), rmse_limit=0.01)
    with pytest.raises(
        RefusedError, match=r"the gate refused the model: RMSE .* is not below the limit 0\.01 \(RMSE_LIMIT"
    ) as raised:
        train_tables(settings, VERSION, Progress(StringIO()))
    assert set(raised.value.metrics) >= {"rmse", "bias", "shuffled"}
    with pytest.raises(ArtifactError):
        load_serving(settings.data_dir / "model")
    train_tables(settings.model_copy(update={"rmse_limit": 1.0}), VERSION, Progress(StringIO()))
    before = files(settings.data_dir)
    with pytest.raises(RefusedError):
        train_tables(settings, VERSION._replace(number=8), Progress(StringIO()))
    assert files(settings.data_dir) == before


def test_a_very_large_table_is_trained_on_latest_films_and_evaluated_on_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists still leave out every film that a user has seen, and the counts are those of the whole table."""
    monkeypatch.setattr(candidate, "WHOLE_PAIRS", 1_000)
    monkeypatch.setattr(evaluate, "EVALUATED_ROWS", 600)
    large = trained(tmp_path, latest_films=18, trainer="auto")
    films = set(load_serving(large.model).films)
    assert max(map(len, large.seen().values())) > 18
    for user, shown in lists(large).items():
        assert set(shown) == films - large.seen()[user]
    evaluation = large.metadata.metrics.evaluation
    assert evaluation.sampled_users is not None
    assert 25 < evaluation.sampled_users < 50
    assert evaluation.rows < 600
    assert f"evaluated on {evaluation.sampled_users} users, evenly spread" in large.output
    assert "that is the latest films of each user" in large.output
    counts = large.metadata.ratings
    assert (counts.pairs + counts.duplicates, large.metadata.latest_films) == (901, 18)


def test_an_automatic_trainer_is_recorded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason in the output; a table that is too large for Surprise is trained by `sgd`."""
    monkeypatch.setattr(trainers, "SURPRISE_MOST", 500)
    auto = trained(tmp_path, trainer="auto")
    assert auto.metadata.trainer == "sgd"
    assert "trained by sgd: 901 ratings are more than 500\n" in auto.output


def test_a_table_that_needs_too_much_memory_is_refused_before_training(tmp_path: Path) -> None:
    """Nothing is evaluated and nothing is written."""
    output = StringIO()
    settings = collected(tmp_path, stream(), memory_gb=0.01)
    with pytest.raises(RefusedError, match=r"needs about 0\.4 GB, and MEMORY_GB is 0\.0: set TRAINER=sgd or TRAINER=auto"):
        train_tables(settings, VERSION, Progress(output))
    assert "RMSE" not in output.getvalue()
    assert not (settings.data_dir / "model").exists()


def test_ratings_that_say_nothing_are_refused(tmp_path: Path) -> None:
    """The same lines with the stars of each other."""
    lines = stream()
    rated = [at for at, line in enumerate(lines) if "GET /rate/" in line]
    stars = [lines[at][-1] for at in rated]
    random.Random(1).shuffle(stars)
    for at, star in zip(rated, stars, strict=True):
        lines[at] = lines[at][:-1] + star
    with pytest.raises(RefusedError, match="shuffled ratings"):
        train_tables(collected(tmp_path, lines), VERSION, Progress(StringIO()))


def test_a_later_candidate_replaces_the_artifact_whole(tmp_path: Path) -> None:
    """With more lines: the new version's users and number, nothing left of the old one or beside it."""
    lines = stream()
    settings = collected(tmp_path, lines)
    train_tables(settings, VERSION, Progress(StringIO()))
    settings = collected(tmp_path, [*lines, "2026-01-06T08:00:00,555,GET /data/m/alpha+beta+1950/1.mpg"])
    train_tables(settings, VERSION._replace(number=8), Progress(StringIO()))
    model = load_serving(settings.data_dir / "model")
    assert model.version == 8
    assert 555 in model.users.tolist()
    assert not [path for path in settings.data_dir.iterdir() if path.name.startswith(".model")]


def test_too_few_ratings_are_refused(tmp_path: Path) -> None:
    """49 cannot tell a model from chance."""
    lines = [line for line in stream() if "GET /rate/" in line]
    with pytest.raises(RefusedError, match="49 ratings are too few to judge a model: 50 are needed"):
        train_tables(collected(tmp_path, lines[:49]), VERSION, Progress(StringIO()))


def test_a_damaged_table_is_refused_by_line(tmp_path: Path) -> None:
    """Before anything is trained."""
    settings = collected(tmp_path, stream())
    with (settings.data_dir / "clean_rating.csv").open("a") as file:
        file.write("1,2,3\n")
    with pytest.raises(RefusedError, match=r"clean_rating\.csv line 902: not a row"):
        train_tables(settings, VERSION, Progress(StringIO()))


def test_another_recipe_in_service_is_trained_on_the_same_rows(tmp_path: Path, run: Run) -> None:
    """On the same rows, with its own seed; the same recipe is not trained again."""
    settings = collected(tmp_path, stream())
    metadata = train_tables(settings, VERSION, Progress(StringIO()), Recipe("surprise", 5, "popularity"))
    evaluation = metadata.metrics.evaluation
    assert evaluation.champion is not None
    assert evaluation.champion.all != evaluation.model.all
    assert [check.name for check in metadata.metrics.gate.checks][-1] == "champion"
    metadata = train_tables(settings, VERSION, Progress(StringIO()), Recipe("surprise", 0, "popularity"))
    assert metadata.metrics.evaluation.champion is None
    assert run.metadata.metrics.evaluation.champion is None


@pytest.mark.parametrize(("trainer", "why"), [("spark", "pyspark is not installed"), ("gone", "there is no trainer 'gone'")])
def test_a_recipe_in_service_that_cannot_be_trained_is_named(tmp_path: Path, trainer: str, why: str) -> None:
    """In what the run says and in the version's metadata; the candidate is judged by the rest."""
    output = StringIO()
    metadata = train_tables(collected(tmp_path, stream()), VERSION, Progress(output), Recipe(trainer, 0, "popularity"))
    assert (metadata.metrics.evaluation.untrained_champion or "").startswith(why)
    assert metadata.metrics.gate.checks[-1].reason.startswith(f"the recipe in service cannot be trained here: {why}")
    assert f"the recipe in service cannot be trained here: {why}" in output.getvalue()


def test_a_version_has_a_row_to_be_tracked_by(run: Run) -> None:
    """Its times, its error, and what data, code and model are, by their checksums."""
    assert tracking_row(run.metadata.model_dump(), run.model) == {
        "version_number": 7,
        "data_creation": "2026-01-05T09:00:00Z",
        "trained_on": "2026-01-05T09:10:00Z",
        "model_rmse": run.metadata.rmse,
        "git_commit": "c0ffee",
        "data_md5": run.metadata.data_md5,
        "model_md5": hashlib.md5((run.model / "metadata.json").read_bytes(), usedforsecurity=False).hexdigest(),
    }


def test_collecting_tells_what_became_of_the_lines(tmp_path: Path) -> None:
    """All lines, with what was repaired and quarantined; the counts are returned."""
    output = StringIO()
    path = tmp_path / "movie.log"
    path.write_text("\n".join(stream() + DAMAGED))
    counts = collect_files([path], settings_in(tmp_path), Progress(output))
    assert counts.lines == len(stream()) + 2
    assert (counts.kinds["rating"], counts.repaired, counts.rejected) == (901, 1, {"user": 1})
    assert "1 of them repaired, the originals kept\n  1 quarantined: user 1\n" in output.getvalue()


def test_too_many_damaged_lines_are_refused(tmp_path: Path) -> None:
    """By the share of the setting."""
    path = tmp_path / "movie.log"
    path.write_text("\n".join(stream() + DAMAGED[:1] * 100))
    with pytest.raises(RefusedError, match="MAX_REJECT_SHARE"):
        collect_files([path], settings_in(tmp_path), Progress(StringIO()))


def test_a_champion_trained_on_the_test_rows_gains_nothing_by_it(tmp_path: Path) -> None:
    """What stands in `data/model` has seen every row; the decision about a candidate is the same with it and without."""
    settings = collected(tmp_path, stream())
    recipe = Recipe("surprise", 5, "popularity")
    alone = train_tables(settings, VERSION, Progress(StringIO()), recipe)
    assert (settings.data_dir / "model" / "rating").is_dir()
    again = train_tables(settings, VERSION, Progress(StringIO()), recipe)
    assert again.metrics == alone.metrics
    assert again.metrics.evaluation.champion is not None
    assert min(again.metrics.evaluation.champion.all) > 0.9 * min(alone.metrics.evaluation.model.all)


def test_another_ranker_in_service_is_held_against_the_lists(tmp_path: Path) -> None:
    """Scored on the same rows; the figures are kept with the version, and the gate asks about them."""
    settings = collected(tmp_path, stream())
    metadata = train_tables(settings, VERSION, Progress(StringIO()), Recipe("surprise", 0, "svd"))
    comparison = metadata.metrics.evaluation.comparison
    assert comparison is not None
    assert (comparison.ranker, comparison.champion) == (metadata.ranker, "svd") == ("popularity", "svd")
    assert metadata.metrics.gate.checks[-1].name == "ranking"
