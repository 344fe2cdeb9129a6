from __future__ import annotations

import json
import os
import pickle
import random
import threading
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app import model
from tests.unit.app import samples
from tests.unit.app.crashes import child, rounds

if TYPE_CHECKING:
    from collections.abc import Callable

SAVE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from tests.unit.app import samples
for version in itertools.count(1):
    samples.save(Path(sys.argv[1]), {"version": version})
    print(version, flush=True)
"""


def refusal(folder: Path) -> str:
    """Why the serving part is refused; one line."""
    with pytest.raises(model.ArtifactError) as caught:
        model.load_serving(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_saved_is_loaded(artifact: Path) -> None:
    """Arrays, ids of films, version and metadata come back as they were."""
    loaded = model.load_serving(artifact)
    arrays = samples.serving()
    for name in ("users", "top", "cold"):
        array = getattr(loaded, name)
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
    assert loaded.films == samples.FILMS
    assert loaded.version == samples.VERSION
    assert loaded.empty == 65_535
    assert loaded.metadata["cold_lists"] == ["popular"]
    assert loaded.metadata["format"] == model.FORMAT


def test_the_rating_part_is_loaded_apart(artifact: Path) -> None:
    """The rating model's arrays come back, and serving does without them."""
    rating = model.load_rating(artifact)
    assert sorted(rating) == ["bias", "factors"]
    np.testing.assert_array_equal(rating["bias"], np.arange(5.0))
    assert rating["factors"].dtype == np.float32
    for path in (artifact / "rating").iterdir():
        path.unlink()
    assert model.load_serving(artifact).version == samples.VERSION
    with pytest.raises(model.ArtifactError, match=r"bias\.npy: No such file"):
        model.load_rating(artifact)


@pytest.mark.parametrize(
    "array", [np.float64(3.5), np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(9)[::2], np.empty((0, 4))]
)
def test_arrays_of_any_layout_come_back(tmp_path: Path, array: Any) -> None:
    """A single number, a transposed, a strided and an empty array are loaded with their shapes and values."""
    model.save(tmp_path / "model", {"version": 1}, {}, {"it": np.asarray(array)})
    back = model.load_rating(tmp_path / "model")["it"]
    assert back.shape == np.shape(array)
    np.testing.assert_array_equal(back, array)


def test_arrays_are_read_only_maps_of_their_files(artifact: Path) -> None:
    """Loading maps the files, so that processes share them, and nobody can change them."""
    loaded = model.load_serving(artifact)
    for array in (loaded.users, loaded.top, loaded.cold):
        assert isinstance(array, np.memmap)
        assert Path(str(array.filename)).parent == artifact / "serving"
        assert not array.flags.writeable


def test_a_reader_of_the_replaced_artifact_goes_on(artifact: Path) -> None:
    """Who mapped the old version keeps its content; who loads now gets the new one."""
    old = model.load_serving(artifact)
    users = np.array([1, 2, 3], dtype=np.int64)
    samples.save(artifact, {"version": 4}, users=users, top=np.full((3, model.RESERVE), 7, dtype=np.uint16))
    assert old.users.tolist() == [samples.FULL, samples.FEW, samples.SEEN_ALL]
    assert old.top[0].tolist() == list(range(model.RESERVE))
    new = model.load_serving(artifact)
    assert new.version == 4
    assert new.users.tolist() == [1, 2, 3]


class Immovable(PosixPath):
    """A folder that nobody may move out of the way."""

    def rename(self, target: str | os.PathLike[str]) -> Immovable:
        """Fail, because nothing would be there for a moment."""
        raise AssertionError(f"{self} was moved to {target}")


def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """Its half-written folder and nothing else: not that of an artifact with another name, no file."""
    left = [tmp_path / ".model.k_l3ft0x", tmp_path / ".model.abcdefgh"]
    others = [tmp_path / name for name in (".models.k_l3ft0x", ".model.k_l3ft0x.tar", "model.k_l3ft0x")]
    for each in [*left, *others]:
        (each / "serving").mkdir(parents=True)
        (each / "serving" / "top.npy").write_bytes(b"half")
    (tmp_path / ".model.justfile").write_bytes(b"")
    folder = samples.save(tmp_path / "model")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / ".model.justfile", folder])
    assert model.load_serving(folder).version == samples.VERSION


def test_an_artifact_that_stepped_aside_stays_until_there_is_another(tmp_path: Path) -> None:
    """It is the only whole one where a save was killed between two renames: a save that fails after that leaves it."""
    aside = samples.save(tmp_path / ".model.old")
    with pytest.raises(TypeError):
        samples.save(tmp_path / "model", {"version": 4, "odd": object()})
    assert model.load_serving(aside).version == samples.VERSION
    samples.save(tmp_path / "model", {"version": 4})
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_an_artifact_is_replaced_in_one_step(artifact: Path) -> None:
    """The old version is never moved away before the new one is there."""
    samples.save(Immovable(artifact), {"version": 4})
    assert model.load_serving(artifact).version == 4
    assert list(artifact.parent.iterdir()) == [artifact]


def test_there_is_an_artifact_at_every_moment_of_a_replacement(artifact: Path) -> None:
    """While it is replaced again and again, its metadata can always be opened."""
    done, missing = threading.Event(), []

    def read_again() -> None:
        while not done.is_set():
            try:
                os.close(os.open(artifact / "metadata.json", os.O_RDONLY))
            except FileNotFoundError as error:
                missing.append(error)

    reader = threading.Thread(target=read_again)
    reader.start()
    try:
        for version in range(40):
            samples.save(artifact, {"version": version})
    finally:
        done.set()
        reader.join()
    assert missing == []
    assert model.load_serving(artifact).version == 39


@pytest.mark.crash
def test_a_killed_save_leaves_the_old_or_the_new_artifact(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Killed with -9 at any moment of a save: what loads is the last version that was saved whole, or the one after it."""
    folder = tmp_path / "model"
    for chance in rounds(request, 3):
        with child(SAVE_FOR_EVER, folder) as saver:
            assert saver.stdout is not None
            assert saver.stdout.readline() == b"1\n"
            threading.Event().wait(0.1 * chance.random())
            saver.kill()
            saved = int([b"1", *saver.stdout.read().split()][-1])
        assert model.load_serving(folder).version in {saved, saved + 1}


def test_an_artifact_is_replaced_where_folders_cannot_be_exchanged(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot exchange two folders replaces the artifact in two steps, and nothing else stays behind."""
    monkeypatch.setattr(model, "_exchange", lambda *_: False)
    samples.save(artifact, {"version": 4})
    assert model.load_serving(artifact).version == 4
    assert list(artifact.parent.iterdir()) == [artifact]


def test_a_save_that_fails_leaves_all_as_it_was(artifact: Path) -> None:
    """An array that would need pickling is refused on saving. The old artifact stays, without other files next to it."""
    with pytest.raises(ValueError, match="pickle"):
        samples.save(artifact, {"version": 4}, top=np.array([{}], dtype=object))
    assert model.load_serving(artifact).version == samples.VERSION
    assert list(artifact.parent.iterdir()) == [artifact]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_an_artifact_is_readable_by_others(tmp_path: Path, mask: int) -> None:
    """Whatever the umask of whoever saved it: containers read it as somebody else."""
    before = os.umask(mask)
    try:
        artifact = samples.save(tmp_path / "model")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (artifact, *artifact.glob("*/"))} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in artifact.rglob("*.*")} == {0o644}


@pytest.mark.parametrize("name", model.NEEDED)
def test_a_missing_array_is_named(artifact: Path, name: str) -> None:
    """An array's file that is not there is refused with its name."""
    (artifact / "serving" / f"{name}.npy").unlink()
    assert f"serving/{name}.npy: No such file" in refusal(artifact)


@pytest.mark.parametrize("name", model.NEEDED)
def test_an_array_that_is_not_listed_is_named(artifact: Path, name: str) -> None:
    """Metadata that leaves out an array is refused with the array's name."""
    samples.rewrite_metadata(artifact, lambda metadata: metadata["arrays"]["serving"].pop(name))
    assert refusal(artifact).endswith(f"metadata.json: the serving part lists no {name}: train again")


@pytest.mark.parametrize("name", model.NEEDED)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_cut_array_is_named(artifact: Path, name: str, kept: float) -> None:
    """Each array in turn, cut anywhere: refused with its name."""
    path = artifact / "serving" / f"{name}.npy"
    os.truncate(path, int(path.stat().st_size * kept))
    assert refusal(artifact).startswith(f"{path}: the checksum differs from metadata.json")


@pytest.mark.parametrize("name", model.NEEDED)
def test_a_cut_array_with_its_checksum_is_named(artifact: Path, name: str) -> None:
    """An array that was cut before its checksum was taken is refused all the same."""
    path = artifact / "serving" / f"{name}.npy"
    os.truncate(path, path.stat().st_size - 1)
    samples.acknowledge(artifact, name)
    assert refusal(artifact).startswith(f"{path}: not the array that metadata.json describes")


@pytest.mark.parametrize("name", model.NEEDED)
def test_a_changed_byte_is_noticed(artifact: Path, name: str) -> None:
    """One bit that flipped in any array: refused with its name."""
    path = artifact / "serving" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    assert refusal(artifact).startswith(f"{path}: the checksum")


def test_swapped_files_are_noticed(artifact: Path) -> None:
    """Two arrays that changed places are refused, with the first one's name."""
    one, other = (artifact / "serving" / f"{name}.npy" for name in ("cold", "top"))
    aside = one.rename(artifact / "aside")
    other.rename(one)
    aside.rename(other)
    assert refusal(artifact).startswith(f"{one}: the checksum differs from metadata.json: the file is cut, swapped or changed")


def test_swapped_arrays_are_noticed_without_checksums(artifact: Path) -> None:
    """Two arrays that were saved under each other's names do not fit what they should be."""
    arrays = samples.serving()
    samples.save(artifact, users=arrays["cold"], cold=arrays["users"])
    message = refusal(artifact)
    assert "users are not int64 in one row" in message
    assert "cold is not uint16 with 40 places" in message


@pytest.mark.parametrize(("fact", "other"), [("dtype", "<u4"), ("shape", [3, 41]), ("dtype", None), ("shape", None)])
def test_an_array_of_another_form_than_told_is_refused(artifact: Path, fact: str, other: object) -> None:
    """A type or shape that is not the one in the metadata is refused with both."""
    samples.rewrite_metadata(artifact, lambda metadata: metadata["arrays"]["serving"]["top"].update({fact: other}))
    message = refusal(artifact)
    assert "serving/top.npy: <u2 (3, 40), but metadata.json says" in message
    assert str(other) in message


@pytest.mark.parametrize("facts", [None, [], "sha256", 5, {}])
def test_facts_of_an_array_that_are_none_are_refused(artifact: Path, facts: object) -> None:
    """An array that the metadata lists without checksum is refused with its name."""
    samples.rewrite_metadata(artifact, lambda metadata: metadata["arrays"]["serving"].update(top=facts))
    assert "serving/top.npy: not the array that metadata.json describes" in refusal(artifact)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("users", np.array([5, 70, 2**62], dtype=np.uint64), "users are not int64"),
        ("users", np.array([5, 70, 90], dtype=np.int32), "users are not int64"),
        ("users", np.array([[5, 70, 90]]), "users are not int64 in one row"),
        ("users", np.array(5), "users are not int64 in one row"),
        ("users", np.array([5, 70]), "top is not uint16 with 40 places for each user"),
        ("users", np.array([5, 90, 70]), "users are not in ascending order"),
        ("users", np.array([5, 70, 70]), "users are not in ascending order"),
        ("top", np.zeros((3, 40), dtype=np.uint32), "top is not uint16"),
        ("top", np.zeros((3, 39), dtype=np.uint16), "top is not uint16 with 40 places"),
        ("top", np.zeros(120, dtype=np.uint16), "top is not uint16 with 40 places"),
        ("top", np.full((3, 40), 50, dtype=np.uint16), "a list has the number of a film that does not exist"),
        ("top", np.full((3, 40), 65_534, dtype=np.uint16), "a list has the number of a film that does not exist"),
        ("cold", np.full((1, 40), 50, dtype=np.uint16), "a list has the number of a film that does not exist"),
        ("cold", np.zeros((1, 40), dtype=np.int16), "cold is not uint16"),
        ("cold", np.zeros(40, dtype=np.uint16), "cold is not uint16 with 40 places"),
        ("cold", np.array(0, dtype=np.uint16), "cold is not uint16 with 40 places"),
        ("cold", np.full((1, 40), 65_535, dtype=np.uint16), "the first cold list has no film"),
        ("cold", np.zeros((0, 40), dtype=np.uint16), "there is no cold list"),
        ("cold", np.zeros((2, 40), dtype=np.uint16), "cold_lists does not name each list in cold"),
        ("film_ends", np.arange(1, 51, dtype=np.uint32), "film_ends does not fit film_text"),
        ("film_ends", np.array([[1]], dtype=np.uint32), "film_ends does not fit film_text"),
        ("film_text", np.array([], dtype=np.uint8), "film_ends does not fit film_text"),
        ("film_text", np.zeros(3, dtype=np.uint16), "film_ends does not fit film_text"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, name: str, array: model.Array, message: str) -> None:
    """What nobody could answer from is refused with the reason, although every checksum is right."""
    folder = samples.save(tmp_path / "model", None, **{name: array})
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("films", "message"),
    [
        (("a+2001", "b+2001", "a+2001"), "a film's id occurs twice"),
        ((), "no film"),
        (("a+2001", "", "b+2001"), "film_ends does not fit film_text"),
        (("", "a+2001", "b+2001"), "film_ends does not fit film_text"),
        (("a,2001", "b+2001", "c+2001"), "film_text.npy: not ASCII without blanks and commas"),
        (("a 2001", "b+2001", "c+2001"), "film_text.npy: not ASCII without blanks and commas"),
        (("a\n2001", "b+2001", "c+2001"), "film_text.npy: not ASCII without blanks and commas"),
    ],
)
def test_films_that_cannot_be_distinguished_are_refused(tmp_path: Path, films: tuple[str, ...], message: str) -> None:
    """Ids that stand there twice, are empty or would break an answer's form are refused."""
    top = np.full((3, 40), 65_535, dtype=np.uint16)
    cold = np.zeros((1, 40), dtype=np.uint16)
    folder = samples.save(tmp_path / "model", None, top=top, cold=cold, **model.film_arrays(films))
    assert message in refusal(folder)


def test_text_that_is_not_ascii_is_refused(tmp_path: Path) -> None:
    """A film's id with a letter beyond ASCII is refused with its file, and is not saved in the first place."""
    arrays = model.film_arrays(samples.FILMS)
    text = arrays["film_text"].copy()
    text[3] = 0xE9
    assert "serving/film_text.npy: not ASCII" in refusal(samples.save(tmp_path / "model", film_text=text))
    with pytest.raises(UnicodeEncodeError):
        model.film_arrays(("amélie+2001",))


@pytest.mark.parametrize("names", [None, "popular", 1, {}, [], ["popular", "young"]])
def test_names_of_cold_lists_that_do_not_fit_are_refused(tmp_path: Path, names: object) -> None:
    """Every cold list has a name, or the artifact is refused."""
    folder = samples.save(tmp_path / "model", {"cold_lists": names})
    assert "cold_lists does not name each list in cold" in refusal(folder)


class Trap:
    """What leaves a trace when somebody unpickles it."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._trace),)


def test_a_pickle_inside_an_array_is_never_opened(artifact: Path, tmp_path: Path) -> None:
    """An object array is refused, whatever the metadata says of it, and its content is not run."""
    trace = tmp_path / "trace"
    np.save(artifact / "serving" / "top.npy", np.array([Trap(trace)], dtype=object), allow_pickle=True)
    samples.acknowledge(artifact, "top", dtype="|O", shape=[1])
    assert "serving/top.npy: not the array that metadata.json describes" in refusal(artifact)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["pickle", "archive", "text"])
def test_a_file_that_is_no_array_is_refused(artifact: Path, tmp_path: Path, kind: str) -> None:
    """A bare pickle, an archive of arrays and text are refused with the file's name, and no pickle is run."""
    path, trace = artifact / "serving" / "top.npy", tmp_path / "trace"
    with path.open("wb") as file:
        if kind == "archive":
            np.savez(file, top=samples.serving()["top"])
        else:
            file.write(pickle.dumps(Trap(trace)) if kind == "pickle" else b"5,7,9\n")
    samples.acknowledge(artifact, "top")
    assert f"{path}: not the array" in refusal(artifact)
    assert not trace.exists()


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_refused(artifact: Path, number: object) -> None:
    """An artifact of another format is refused with both numbers."""
    samples.rewrite_metadata(artifact, lambda metadata: metadata.update(format=number))
    assert f"metadata.json: format {number!r}, but this code reads format 1" in refusal(artifact)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"version: 3", b'{"format": 1'])
def test_metadata_that_is_not_json_is_refused(artifact: Path, content: bytes) -> None:
    """Metadata that is empty, cut or binary is refused with what to do."""
    (artifact / "metadata.json").write_bytes(content)
    assert refusal(artifact).startswith(f"{artifact}/metadata.json: not JSON")


@pytest.mark.parametrize("content", ["[]", "3", '"format"', "null"])
def test_metadata_that_is_no_object_is_refused(artifact: Path, content: str) -> None:
    """JSON that is no object has no format that could be read."""
    (artifact / "metadata.json").write_text(content)
    assert "metadata.json: format None" in refusal(artifact)


@pytest.mark.parametrize("version", [True, False, -1, "3", 3.0, None, [3]])
def test_a_version_that_is_no_whole_number_is_refused(artifact: Path, version: object) -> None:
    """A truth value, a negative number and text are no versions."""
    samples.rewrite_metadata(artifact, lambda metadata: metadata.update(version=version))
    assert f"metadata.json: version is {version!r}, not a whole number" in refusal(artifact)


@pytest.mark.parametrize("arrays", [None, [], "serving", 1])
def test_metadata_without_arrays_is_refused(artifact: Path, arrays: object) -> None:
    """Metadata that lists no arrays is refused."""
    samples.rewrite_metadata(artifact, lambda metadata: metadata.update(arrays=arrays))
    assert "metadata.json: lists no arrays" in refusal(artifact)


@pytest.mark.parametrize("part", [None, [], "users"])
def test_metadata_without_a_part_is_refused(artifact: Path, part: object) -> None:
    """Metadata whose serving part is no object is refused."""
    samples.rewrite_metadata(artifact, lambda metadata: metadata["arrays"].update(serving=part))
    assert "metadata.json: lists no serving part" in refusal(artifact)


def test_no_artifact_at_all_is_reported_as_that(tmp_path: Path) -> None:
    """A folder without metadata: the message asks for a model."""
    assert refusal(tmp_path) == f"{tmp_path}/metadata.json: No such file or directory: is there a trained model?"
    (tmp_path / "metadata.json").symlink_to(tmp_path / "cache" / "7f")
    assert refusal(tmp_path).endswith("a link to another folder: run scripts/run dvc checkout --relink data/model")


@pytest.mark.parametrize(("count", "row_type"), [(65_534, np.uint16), (65_535, np.uint32)])
def test_rows_grow_with_the_catalogue(tmp_path: Path, count: int, row_type: type) -> None:
    """Up to 65,534 films a place takes two bytes, beyond that four; the last film can be listed either way."""
    films = tuple(map(str, range(count)))
    arrays = samples.serving(films)
    arrays["top"][0, 0] = count - 1
    loaded = model.load_serving(samples.save(tmp_path / "model", None, **arrays))
    assert loaded.top.dtype == loaded.cold.dtype == row_type
    assert loaded.empty == np.iinfo(row_type).max
    assert loaded.films[loaded.top[0, 0]] == str(count - 1)


def test_a_model_without_users_can_be_loaded(tmp_path: Path) -> None:
    """Before anybody rated, there are popular films and no users."""
    loaded = model.load_serving(samples.save(tmp_path / "model", None, **samples.serving(users=())))
    assert loaded.users.size == 0
    assert loaded.top.shape == (0, model.RESERVE)


def size_of(folder: Path) -> int:
    """The bytes of the serving part."""
    return sum(path.stat().st_size for path in (folder / "serving").iterdir())


def test_a_user_takes_100_bytes_at_most(tmp_path: Path) -> None:
    """What 20,000 users add to the files, a user."""
    few = samples.save(tmp_path / "few")
    many = samples.save(tmp_path / "many", None, **samples.serving(users=tuple(range(20_003))))
    assert (size_of(many) - size_of(few)) / 20_000 <= 100


def test_a_film_takes_a_kilobyte_at_most(tmp_path: Path) -> None:
    """What 20,000 films with long ids add to the files, a film."""
    few = samples.save(tmp_path / "few")
    films = (*samples.FILMS, *(f"{'a+very+long+title+' * 10}{number}" for number in range(20_000)))
    many = samples.save(tmp_path / "many", None, **samples.serving(films))
    assert (size_of(many) - size_of(few)) / 20_000 <= 1024


def test_metadata_lists_what_was_written(artifact: Path) -> None:
    """The metadata has type and shape of each array, and the caller's own keys."""
    metadata = json.loads((artifact / "metadata.json").read_text())
    assert metadata["arrays"]["serving"]["top"]["dtype"] == "<u2"
    assert metadata["arrays"]["serving"]["top"]["shape"] == [3, 40]
    assert metadata["arrays"]["rating"]["factors"]["shape"] == [5, 3]
    assert model.read_metadata(artifact) == metadata
