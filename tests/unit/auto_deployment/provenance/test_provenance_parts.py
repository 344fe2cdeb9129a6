from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model import load_serving
from app.provenance.archive import Served, Traced
from auto_deployment.common.errors import RunError
from auto_deployment.common.process import CommandError, Commands
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.collect_with_progress import collect_files
from auto_deployment.ingestion.rows import BlockRows, Counts
from auto_deployment.ingestion.sources import SAMPLE
from auto_deployment.ingestion.tables import Tables
from auto_deployment.provenance import history, listing, tries
from auto_deployment.provenance.chain import last_release, release_evidence
from auto_deployment.provenance.explanation import EXPLAINING_ARRAYS, Driver, find_drivers, latest_films, step_meaning
from auto_deployment.provenance.history import HistoryFilm, combine, lines_of
from auto_deployment.provenance.replay import Engine, ReplayError, find_model, read, replay
from auto_deployment.provenance.version_files import GoneError, VersionFiles
from auto_deployment.release import image_commands
from auto_deployment.versioning.repository import Places
from tests.unit.app import samples
from tests.unit.auto_deployment.samples import read_tables

if TYPE_CHECKING:
    from app.model import ServingModel

NOON = datetime(2026, 1, 2, 12)  # noqa: DTZ001 - the tables hold UTC without a zone
LINE = {
    "time": "2026-01-02T12:00:00+00:00",
    "request_id": "request-1",
    "answer_id": "a1",
    "status": 200,
    "request_time": 0.301,
    "upstream_addr": "10.0.0.1:5000, 10.0.0.2:5000",
    "upstream_status": "502, 200",
    "upstream_time": "0.280, 0.002",
}


def model(folder: Path, ranker: str, cold: list[int] | None = None) -> ServingModel:
    """The sample artifact with a ranker's name."""
    arrays = {} if cold is None else {"cold": np.array([cold], dtype=np.uint16)}
    return load_serving(samples.save(folder, {"ranker": ranker, "cold_lists": ["popular"]}, **arrays))


def test_an_image_is_built_by_one_command() -> None:
    """The release and replay share it, word for word."""
    assert image_commands.image_of("movierec-app", 7) == "movierec-app:model-7"
    assert image_commands.build("docker", "movierec-app:model-7", Path("/src")) == [
        *("docker", "build", "--quiet", "--tag", "movierec-app:model-7", "--file", "/src/app/Dockerfile", "/src")
    ]
    assert image_commands.exists("docker", "x:1")[-1] == "x:1"


def test_an_answer_is_computed_without_a_network_and_without_rights() -> None:
    """With the model of the host, as its owner, or the image's own; inputs only where there are some."""
    command = image_commands.answer("docker", "x:1", ["5", "seed=7"], Path("/m"), "1000:1001")
    assert command[-5:] == ["python", "-m", "app.answer", "5", "seed=7"]
    assert command[command.index("--network") + 1] == "none"
    assert {"--read-only", "--rm"} <= set(command)
    assert command[command.index("--volume") + 1] == "/m:/srv/model:ro"
    assert command[command.index("--user") + 1] == "1000:1001"
    own = image_commands.answer("docker", "x:1", ["5"], None)
    assert own[-5:] == ["x:1", "python", "-m", "app.answer", "5"]
    assert {"--volume", "--user"} & set(own) == set()


@pytest.mark.parametrize("printed", ["", "nonsense", "[]", '{"version": 3}', "5"])
def test_an_image_that_gives_no_answer_is_reported(printed: str) -> None:
    """For example an image that is older than the command. The error has its output, and what to do."""
    with pytest.raises(ReplayError, match=r"the image gave no answer but .*--here"):
        read(printed, "the image")


class FakeEngine(Engine):
    """An engine whose images hold models, with versions by the images' tags. It answers with the version of the image."""

    def __init__(self, models: Path, **tags: int) -> None:
        super().__init__("docker", "movierec-app")
        self._models = {f"movierec-app:{name.replace('_', '-')}": (models / name, version) for name, version in tags.items()}
        for folder, version in self._models.values():
            samples.save(folder, {"version": version})
        self.commands = self  # type: ignore[assignment]

    def run(self, *command: str) -> str:
        """What docker would print."""
        if command[1:3] == ("image", "inspect"):
            if command[-1] not in self._models:
                raise CommandError(command, "No such image")
            return "sha256:0"
        if command[1] == "run":
            folder, version = self._models[next(part for part in command if part in self._models)]
            content = {"version": version, "body": "a,b", "step": "known", "digest": "0f", "model_md5": md5_of(folder)}
            return json.dumps(content)
        if command[1] == "create":
            return command[-1]
        if command[1] == "cp":
            shutil.copytree(self._models[command[-2].rpartition(":")[0]][0], command[-1])
        return ""


def md5_of(model: Path) -> str:
    """The md5 by which a model is known."""
    return hashlib.md5((model / "metadata.json").read_bytes(), usedforsecurity=False).hexdigest()


def test_an_answer_of_version_0_is_computed_by_the_image_that_the_first_release_kept(tmp_path: Path) -> None:
    """Git has no tag of it, and what the stack runs is another version by then; its model comes out of that image, too."""
    engine = FakeEngine(tmp_path / "images", model_0=0, stable=7, canary=8)
    files = VersionFiles(Places(tmp_path, tmp_path / "data"), "local", tmp_path / "cache")
    answer = traced(0, md5_of(tmp_path / "images" / "model_0"))
    assert replay(answer, "", files, engine).by == "the stack's image movierec-app:model-0, with the model in it"
    assert json.loads((find_model(answer, files, engine) / "metadata.json").read_bytes())["version"] == 0


def test_before_the_first_release_what_the_stack_runs_computes(tmp_path: Path) -> None:
    """And where another training of the same number is at hand, nothing does."""
    engine = FakeEngine(tmp_path / "images", stable=0)
    files = VersionFiles(Places(tmp_path, tmp_path / "data"), "local", tmp_path / "cache")
    assert "movierec-app:stable" in replay(traced(0, None), "", files, engine).by
    with pytest.raises(ReplayError, match="in none of movierec-app:model-0, movierec-app:stable, movierec-app:canary"):
        replay(traced(0, "0" * 32), "", files, engine)


def test_an_answer_of_a_group_needs_the_image_of_its_version(tmp_path: Path) -> None:
    """The code of today makes no such lists: it would compute another answer."""
    folder = tmp_path / "data" / "model"
    samples.save(folder, {"version": 0})
    files = VersionFiles(Places(tmp_path, tmp_path / "data"), "local", tmp_path / "cache")
    answer = traced(0, md5_of(folder))._replace(step="demographics")
    with pytest.raises(ReplayError, match="the image of version 0 computes this answer again"):
        replay(answer, "", files, None)


def traced(version: int, md5: str | None) -> Traced:
    """An answer of a version with that model."""
    return Traced(version, 5, None, None, None, "a1", "request-1", "stable", NOON, "known", "0f", "", None, None, md5)


def test_of_what_was_fetched_the_newest_versions_stay(tmp_path: Path) -> None:
    """And one whose model is in use, however old; what is no version's stays too."""
    files = VersionFiles(Places(tmp_path, tmp_path / "data"), "local", tmp_path / "cache")
    for age, name in enumerate(["9", "3", "10", "4", "2", "1"]):
        samples.save(tmp_path / "cache" / name / "model", {"version": int(name)})
        os.utime(tmp_path / "cache" / name, (1000 - age, 1000 - age))
    (tmp_path / "cache" / "sample").mkdir()
    files.model(1, None)
    files.clear_cache()
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"9", "3", "10", "1", "sample"}


def test_what_was_computed_is_read() -> None:
    """Of the last line; what a later image adds is passed over."""
    content = {"version": 3, "body": "a,b", "step": "known", "digest": "0f", "model_md5": "m", "inputs": "", "new": 1}
    assert read(f"a warning\n{json.dumps(content)}", "x") == (3, "a,b", "known", "0f", "m", "x")


@given(
    lines=st.lists(st.tuples(st.sampled_from(["5", "55", "15", "7"]), st.sampled_from("abc")), max_size=60),
    block=st.integers(1, 40),
    stop=st.integers(0, 400),
)
def test_a_users_lines_are_found_whatever_the_blocks(
    lines: list[tuple[str, str]], block: int, stop: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The whole lines of this user alone, up to the bytes that count, in their order."""
    path = tmp_path_factory.getbasetemp() / "table.csv"
    text = "".join(f"{line}\n" for line in ["user_id,movie_id", *(",".join(pair) for pair in lines)])
    path.write_text(text)
    whole = text[:stop][: text[:stop].rfind("\n") + 1].splitlines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "BLOCK_BYTES", block)
        assert list(lines_of(path, 5, stop)) == [line for line in whole if line.startswith("5,")]
        assert list(lines_of(path, 5, None)) == [",".join(pair) for pair in lines if pair[0] == "5"]


def test_each_film_of_a_history_stands_once() -> None:
    """The latest rating counts, of equal times the later row; minutes add up."""
    ratings = [
        "5,a,3,2026-01-02T00:00:00",
        "5,b,4,2026-01-01T00:00:00",
        "5,a,1,2026-01-01T00:00:00",
        "5,b,5,2026-01-01T00:00:00",
    ]
    watches = [("b", 10, "2026-01-03T00:00:00"), ("c", 2, "2026-01-02T00:00:00"), ("b", 5, "2025-01-01T00:00:00.5")]
    found = combine(ratings, watches)
    assert found == [
        HistoryFilm("a", 3.0, "2026-01-02T00:00:00", 0),
        HistoryFilm("b", 5.0, "2026-01-01T00:00:00", 15),
        HistoryFilm("c", None, None, 2),
    ]
    assert [each.last_at[:10] for each in found] == ["2026-01-02", "2026-01-03", "2026-01-02"]
    assert combine([], []) == []


def test_a_version_of_latest_films_is_explained_by_them() -> None:
    """Of equal times the first film, as in training; in the order of the history. Without a limit all films."""
    films = [
        HistoryFilm(film, 4.0, None, 0, f"2026-01-0{day}T00:00:00.000000")
        for film, day in zip("dcba", (1, 2, 3, 2), strict=True)
    ]
    assert [[each.film for each in latest_films(films, most)] for most in (1, 2, 3, 4)] == [
        ["b"],
        ["b", "a"],
        ["c", "b", "a"],
        [*"dcba"],
    ]
    assert latest_films(films, None) == films


@pytest.mark.parametrize(
    ("times", "stars"),
    [
        (("08:00:00", "08:00:00.585"), 2.0),
        (("08:00:00.585", "08:00:00"), 1.0),
        (("08:00:00.585000", "08:00:00.585"), 2.0),
        (("08:00:00.585000002", "08:00:00.585000001"), 2.0),
        (("08:00:00.586", "08:00:00.585999999"), 1.0),
    ],
)
def test_the_latest_rating_is_the_one_that_training_takes(tmp_path: Path, times: tuple[str, str], stars: float) -> None:
    """Also with decimals that are mixed: both compare microseconds, and of equal ones the later row counts."""
    rows = [f"5,a+1999,{at},2026-01-05T{time}" for at, time in enumerate(times, 1)]
    (seen,) = combine(rows, [])
    tables = Tables(tmp_path)
    tables.append(BlockRows(rows, [], [], [], Counts()))
    trained = read_tables(tables).ratings.stars.tolist()
    assert (seen.stars, trained) == (stars, [stars])


def test_history_takes_films_out_of_the_popular_order(tmp_path: Path) -> None:
    """Those before the end of the list, by their place in the order that it was ranked by, whatever unknown users get.

    A film further down was left out of nothing; one that nobody knows any more is passed over.
    """
    serving = model(tmp_path, "popularity", list(range(40)))
    order = {"popularity_films": np.arange(50, dtype=np.uint16)[::-1]}
    left_out = (samples.FILMS[45], samples.FILMS[49], "gone+1999", samples.FILMS[43], samples.FILMS[3])
    seen = [HistoryFilm(film, 4.0, "2026-01-01T00:00:00", 0) for film in left_out]
    shown = [samples.FILMS[film] for film in (48, 47, 46, 44)]
    assert find_drivers("known", shown, seen, serving, order) == [
        Driver(samples.FILMS[49], "left out as seen; it is number 1 of the popular films"),
        Driver(samples.FILMS[45], "left out as seen; it is number 5 of the popular films"),
    ]
    assert find_drivers("popular", [], seen, serving, order) == []


def test_a_version_that_keeps_no_order_names_no_place(tmp_path: Path) -> None:
    """Its list for unknown users is another one, whose places do not explain the list."""
    seen = [HistoryFilm(samples.FILMS[10], 4.0, "2026-01-01T00:00:00", 0)]
    with pytest.raises(RunError, match="version 3 keeps nothing to explain lists of 'popularity' by"):
        find_drivers("known", [samples.FILMS[11]], seen, model(tmp_path, "popularity"), {})


def test_ratings_pull_the_list_towards_films_like_theirs(tmp_path: Path) -> None:
    """A liked film like those shown stands first, one without likeness last; what was only watched pulls nothing."""
    serving = model(tmp_path, "svd")
    factors = np.zeros((50, 2), dtype=np.float32)
    factors[0], factors[1], factors[2], factors[3] = (1, 0), (1, 0.1), (0, 1), (-1, 0)
    rating = {"film_factors": factors, "film_bias": np.zeros(50, dtype=np.float32), "mean": np.array([3], dtype=np.float32)}
    stars = {1: 5.0, 2: 5.0, 3: 2.0}
    seen = [HistoryFilm(samples.FILMS[film], value, "2026-01-01T00:00:00", 0) for film, value in stars.items()]
    found = find_drivers("known", [samples.FILMS[0]], [*seen, HistoryFilm(samples.FILMS[4], None, None, 9)], serving, rating)
    assert [each.film for each in found] == [samples.FILMS[1], samples.FILMS[3], samples.FILMS[2]]
    assert found[1].did == "rated 2, -1.00 against the expected; pull on the list +1.000"


def test_liked_films_are_listed_with_their_contributions(tmp_path: Path) -> None:
    """The strongest first, with the film of its largest contribution. An artifact without weights raises an error."""
    content = {"metrics": {"choice": {"tuning": {"als_share": 0.5, "als_ridge": 1.0}}}, "scale": [1, 5]}
    serving = load_serving(samples.save(tmp_path, {"ranker": "ease", "cold_lists": ["popular"], **content}))
    films, weights = np.zeros((50, 2), dtype=np.uint32), np.zeros((50, 2), dtype=np.float32)
    films[5], weights[5] = (1, 2), (0.25, 0.5)
    films[6], weights[6] = (1, 3), (0.125, 0.5)
    seen = [HistoryFilm(samples.FILMS[film], stars, "2026-01-01T00:00:00", 0) for film, stars in ((1, 5.0), (2, 5.0), (3, 1.0))]
    shown = [samples.FILMS[5], samples.FILMS[6]]
    found = find_drivers("known", shown, seen, serving, {"ease_films": films, "ease_weights": weights})
    first = f"rated 5; adds +0.250 to the scores of the list, most to {samples.FILMS[5]} (+0.500)"
    second = f"rated 5; adds +0.188 to the scores of the list, most to {samples.FILMS[5]} (+0.250)"
    assert found == [Driver(samples.FILMS[2], first), Driver(samples.FILMS[1], second)]
    with pytest.raises(RunError, match="version 3 keeps nothing to explain lists of 'ease' by"):
        find_drivers("known", shown, seen, serving, {})


def test_a_ranker_without_an_explanation_gets_no_words_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranker that makes its lists alone has no scores that its films could add to."""
    monkeypatch.setitem(EXPLAINING_ARRAYS, "walk", "walk_films")
    seen = [HistoryFilm(samples.FILMS[1], 5.0, "2026-01-01T00:00:00", 0)]
    with pytest.raises(RunError, match="this code cannot explain lists of 'walk'"):
        find_drivers("known", [samples.FILMS[5]], seen, model(tmp_path, "walk"), {"walk_films": np.arange(50)})


def test_a_step_is_described_for_the_ranker_of_the_version() -> None:
    """An unknown step of a later version is described by its name."""
    assert "most users liked" in step_meaning("known", {"ranker": "popularity"})
    assert "highest rating predicted" in step_meaning("known", {"ranker": "svd"})
    for ranker, words in (("ease", "item to item"), ("als", "factors of likes"), ("blend", "weights and factors")):
        assert words in step_meaning("known", {"ranker": ranker})
    assert step_meaning("shuffled", {}) == "shuffled"


def test_every_try_is_read_from_the_log() -> None:
    """Of this request alone; lines that are cut, of others, or refused at the door are no harm."""
    other = {**LINE, "request_id": "request-10", "answer_id": "request-1"}
    refused = {**LINE, "upstream_addr": "", "upstream_status": "", "upstream_time": "", "status": 405}
    lines = [json.dumps(LINE), json.dumps(other), json.dumps(LINE)[:80], '"request-1"', "[1, request-1", json.dumps(refused)]
    first, second = tries.read(lines, "request-1")
    assert (first.status, first.seconds, first.answer_id) == (200, 0.301, "a1")
    assert first.tries == [tries.Try("10.0.0.1:5000", "502", "0.280"), tries.Try("10.0.0.2:5000", "200", "0.002")]
    assert (second.status, second.tries) == (405, [])


def test_tries_come_from_a_file_or_all_logs_of_a_folder(tmp_path: Path) -> None:
    """Rolled ones too; an id that a shell would take for more than a word finds nothing and does nothing."""
    (tmp_path / "tries.log").write_text(f"{json.dumps(LINE)}\nelse\n")
    (tmp_path / "tries.1.log").write_text(f"{json.dumps({**LINE, 'time': 'before'})}\n")
    (tmp_path / "error.log").write_text(json.dumps(LINE))
    assert [each.time for each in tries.read(tries.lines_in(tmp_path, "request-1"), "request-1")] == ["before", LINE["time"]]
    assert len(tries.lines_in(tmp_path / "tries.log", "request-1")) == 1
    assert tries.lines_in_stack(Commands(tmp_path), "no-such-docker", "request-1") is None


def test_release_evidence_is_whatever_the_release_left(tmp_path: Path) -> None:
    """JSON as such, texts as texts, other files not at all; nothing without a folder."""
    assert release_evidence(tmp_path / "7") is None
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "verdict.json").write_text('{"verdict": "promote"}')
    (folder / "notes.txt").write_text("fine")
    (folder / "cut.json").write_text('{"verd')
    (folder / "picture.png").write_bytes(b"\xff")
    (folder / "evidence.json").write_text("{}")
    assert release_evidence(folder) == {"cut.json": '{"verd', "notes.txt": "fine", "verdict.json": {"verdict": "promote"}}


def test_the_evidence_is_of_the_last_release_of_a_version(tmp_path: Path) -> None:
    """And version 71 is not version 7."""
    for name in ("7-20261123T100000Z", "7-20261124T100000Z", "71-20261125T100000Z"):
        (tmp_path / ".stack" / "release" / name).mkdir(parents=True)
    assert last_release(tmp_path, 7).name == "7-20261124T100000Z"
    assert release_evidence(last_release(tmp_path, 8)) is None


def test_times_are_written_in_utc() -> None:
    """With their microseconds where they have some; everything else as it is."""
    values: list[Any] = [NOON, NOON.replace(microsecond=5), date(2026, 1, 2), None, 5, 0.5, "x"]
    assert [listing.json_value(value) for value in values] == [
        *("2026-01-02T12:00:00Z", "2026-01-02T12:00:00.000005Z", "2026-01-02", None, 5, 0.5, "x")
    ]


def test_a_version_is_listed_with_its_gaps() -> None:
    """No row, no tag, nothing served, or too much to count."""
    lines = "\n".join(listing.version_lines(3, None, [], None))
    assert "no tracking row" in lines
    assert "git has no tag" in lines
    assert "nothing that is kept" in lines
    lines = "\n".join(listing.version_lines(3, {"version_number": 3, "model_rmse": 0.75}, "not counted: slow", "c" * 40))
    assert "not counted: slow" in lines
    assert "0.7500" in lines
    assert "1,234 by canary" in "\n".join(listing.version_lines(3, None, [Served("canary", 1234, NOON, NOON)], None))


def test_rows_of_a_version_without_a_tag_are_found_by_their_md5(tmp_path: Path) -> None:
    """The tables here where they are its data, else the shipped sample's, else none: never rows of something else."""
    data = tmp_path / "data"
    collect_files([SAMPLE], load_settings(data_dir=data), Progress(io.StringIO()))
    files = VersionFiles(Places(tmp_path, data), "local", tmp_path / "cache")
    md5s = {
        path.name: {"md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}
        for path in data.glob("clean_*.csv")
    }
    user = int((data / "clean_rating.csv").read_text().splitlines()[1].split(",")[0])
    seen = history.history(files, 0, user, md5s)
    assert len(seen) > 10
    for path in data.glob("clean_*.csv"):
        path.write_text(path.read_text().splitlines()[0] + f"\n{user},other+2000,5,2026-01-01T00:00:00\n")
    assert history.history(files, 0, user, md5s) == seen
    other = {name: {"md5": "0" * 32} for name in md5s}
    with pytest.raises(GoneError, match="is what it was trained on"):
        history.history(files, 0, user, other)
