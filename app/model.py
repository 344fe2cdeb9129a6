"""The model artifact: plain arrays and `metadata.json`. Loading checks them and maps them into memory. Nothing is unpickled.

    metadata.json
    serving/users.npy      int64  (n_users,)     ids of the known users, ascending
    serving/top.npy        uint16 (n_users, 40)  rows of films, best first, without films that the user watched
    serving/cold.npy       uint16 (n_lists, 40)  row 0: the list for users who are not known; `cold_lists` names the rows
    serving/explore.npy    uint16 (n_users, 8)   films that few lists show and the user has not watched, for exploration
    serving/explore_pool.npy uint16 (n,)         the same for users who are not known: films that no list in `cold` has
    serving/film_text.npy  uint8  (n_bytes,)     the films' ids, one after the other, ASCII
    serving/film_ends.npy  uint32 (n_films,)     where each film's id ends
    rating/*.npy                                 the arrays of the rating model, and arrays that explain the ranker's lists
    fresh/*.npy                                  only with FRESH=true: what lists are computed from, see `app.fresh.list_model`

A place without a film holds the highest number of the type. With more than 65,534 films, arrays of films are uint32. `explore*`
exist only if exploration is on. Artifacts of software 1.0 may hold more rows of `cold`, and the arrays `cold_users` and
`cold_of`, which nothing reads now. The metadata lists every array.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
VERSION_FILE = "version.txt"
RESERVE = 40
PLAIN = re.compile(rb"[!-+\--~]*")  # what may stand between two commas of an answer
EXPLORE = ("explore", "explore_pool")
LIKES_AND_SEEN = ("like_ends", "like_films", "like_grades", "seen_ends", "seen_gaps")
NEEDED = ("users", "top", "cold", "film_text", "film_ends")
# For Linux's renameat2(2): paths are relative to the working directory, and the two names are exchanged.
AT_FDCWD = -100
RENAME_EXCHANGE = 2

Array: TypeAlias = npt.NDArray[Any]


class ArrayFacts(TypedDict):
    """What `metadata.json` says about one array."""

    dtype: str
    shape: list[int]
    sha256: str


class ArtifactError(Exception):
    """The artifact cannot be used; the text says which file, what is wrong, and what to do."""


@dataclass(frozen=True)
class ServingModel:
    """The serving part of an artifact. Arrays are read-only maps of files, shared by all processes of the machine."""

    metadata: Mapping[str, Any]
    users: Array
    top: Array
    cold: Array
    films: tuple[str, ...]
    explore: Array | None = None
    explore_pool: Array | None = None

    @property
    def version(self) -> int:
        """The version's number."""
        return int(self.metadata["version"])

    def row_of(self, user: int) -> int | None:
        """The row of a known user; None for any other user."""
        at = int(self.users.searchsorted(user))
        return at if at < len(self.users) and self.users[at] == user else None

    def reserve_of(self, row: int | None) -> list[int]:
        """The films of a known user's list, 40 at most; the popular list for None."""
        films: list[int] = (self.cold[0] if row is None else self.top[row]).tolist()
        return [film for film in films if film != self.empty]

    @property
    def empty(self) -> int:
        """The number that marks a place without a film."""
        return int(np.iinfo(self.top.dtype).max)


def row_type(n_films: int) -> type[np.uint16 | np.uint32]:
    """The smallest type that can number all films and still has its highest number free for empty places."""
    return np.uint16 if n_films < np.iinfo(np.uint16).max else np.uint32


def film_arrays(films: tuple[str, ...]) -> dict[str, Array]:
    """The films' ids as `film_text` and `film_ends`."""
    ends = np.cumsum([len(film) for film in films], dtype=np.uint32)
    return {"film_text": np.frombuffer("".join(films).encode("ascii"), dtype=np.uint8), "film_ends": ends}


def save(
    folder: Path,
    metadata: Mapping[str, Any],
    serving: Mapping[str, Array],
    rating: Mapping[str, Array],
    fresh: Mapping[str, Array] | None = None,
) -> None:
    """Write an artifact next to `folder`, then move it to `folder`, where it replaces an older artifact.

    Only one process may save to a `folder` at a time. `save` removes half-written folders of killed processes.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for half_written in _half_written(folder):
        shutil.rmtree(half_written, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        parts = {"serving": serving, "rating": rating} | ({} if fresh is None else {"fresh": fresh})
        arrays = {part: _write_part(aside / part, content) for part, content in parts.items()}
        whole = {"format": FORMAT, **metadata, "arrays": arrays}
        _write_synced(aside / "metadata.json", (json.dumps(whole, indent=2, sort_keys=True) + "\n").encode())
        _make_readable(aside)
        _replace_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load_serving(folder: Path) -> ServingModel:
    """Check format, checksums and shapes of the artifact in `folder`, and map its serving part into memory.

    Raises ArtifactError, whose text says what is wrong.
    """
    metadata = read_metadata(folder)
    arrays = _open_part(folder, metadata, "serving", NEEDED)
    films = _check_serving(folder, metadata, arrays)
    return ServingModel(
        metadata=metadata,
        users=arrays["users"],
        top=arrays["top"],
        cold=arrays["cold"],
        films=films,
        explore=arrays.get("explore"),
        explore_pool=arrays.get("explore_pool"),
    )


def load_rating(folder: Path) -> dict[str, Array]:
    """Map the rating part of the artifact in `folder` into memory. Raises ArtifactError, whose text says what is wrong."""
    return _open_part(folder, read_metadata(folder), "rating", ())


def load_fresh(folder: Path) -> dict[str, Array]:
    """Map the fresh part of the artifact in `folder` into memory. Raises ArtifactError, whose text says what is wrong."""
    return _open_part(folder, read_metadata(folder), "fresh", ("popular", "film_minutes", *LIKES_AND_SEEN))


def read_metadata(folder: Path) -> dict[str, Any]:
    """The artifact's metadata. Raises ArtifactError if the file is missing, not JSON, or of another format."""
    path = folder / "metadata.json"
    try:
        metadata = json.loads(path.read_bytes())
    except OSError as error:
        hint = "is there a trained model?"
        if path.is_symlink():  # made by DVC; its target is outside of the build context of an image
            hint = "a link to another folder: run scripts/run dvc checkout --relink data/model"
        raise ArtifactError(f"{path}: {error.strerror or error}: {hint}") from error
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error}): train again, or fetch the version again") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        number = metadata.get("format") if isinstance(metadata, dict) else None
        raise ArtifactError(f"{path}: format {number!r}, but this code reads format {FORMAT}: train again")
    version = metadata.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise ArtifactError(f"{path}: version is {version!r}, not a whole number: train again")
    if not isinstance(metadata.get("arrays"), dict):
        raise ArtifactError(f"{path}: lists no arrays: train again")
    return metadata


def _half_written(folder: Path) -> list[Path]:
    """The folders that killed calls of `save` left next to `folder`, found by the names that `mkdtemp` gives."""
    name = re.compile(re.escape(f".{folder.name}.") + r"[a-z0-9_]{8}")
    return [path for path in folder.parent.iterdir() if name.fullmatch(path.name) and path.is_dir()]


def _write_part(folder: Path, arrays: Mapping[str, Array]) -> dict[str, ArrayFacts]:
    folder.mkdir()
    facts: dict[str, ArrayFacts] = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        facts[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "sha256": _sha256(path)}
    return facts


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make_readable(folder: Path) -> None:
    """Let every user read the folder, whatever the umask is: a container reads the artifact as another user."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _replace_folder(new: Path, folder: Path) -> None:
    """Move `new` to `folder`. An older folder is then at `new`, or removed."""
    if folder.exists() and _exchange(new, folder):
        return
    # rename(2) replaces only an empty folder. So without an exchange the old folder is renamed first.
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step. Returns False if the file system cannot do this (all common ones of Linux can)."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _open_part(folder: Path, metadata: Mapping[str, Any], part: str, needed: tuple[str, ...]) -> dict[str, Array]:
    listed = metadata["arrays"].get(part)
    if not isinstance(listed, dict):
        raise ArtifactError(f"{folder}/metadata.json: lists no {part} part: train again")
    missing = [name for name in needed if name not in listed]
    if missing:
        raise ArtifactError(f"{folder}/metadata.json: the {part} part lists no {', '.join(missing)}: train again")
    return {name: _open_array(folder / part / f"{name}.npy", facts) for name, facts in listed.items()}


def _open_array(path: Path, facts: ArrayFacts) -> Array:
    try:
        checksum = _sha256(path)
        if checksum != facts["sha256"]:
            raise ArtifactError(
                f"{path}: the checksum differs from metadata.json: the file is cut, swapped or changed; fetch it again"
            )
        array: Array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}: fetch the version again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not the array that metadata.json describes ({error}): fetch it again") from error
    if array.dtype.str != facts.get("dtype") or list(array.shape) != facts.get("shape"):
        raise ArtifactError(
            f"{path}: {array.dtype.str} {array.shape}, but metadata.json says {facts.get('dtype')} {facts.get('shape')}"
        )
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """The MD5 of a file in hexadecimal, as provenance and DVC store it. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_version(data: Path) -> int:
    """The number in `version.txt` of a data folder. Raises ArtifactError if the file holds no number of a version."""
    path = data / VERSION_FILE
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error
    if re.fullmatch(r"(?:0|[1-9]\d{0,8})\n?", text) is None:
        raise ArtifactError(f"{path}: {text[:40]!r} is not the number of a version")
    return int(text)


def _check_serving(folder: Path, metadata: Mapping[str, Any], arrays: Mapping[str, Array]) -> tuple[str, ...]:
    """Check that the arrays fit each other. Returns the films' ids. Raises ArtifactError."""
    users, top, cold = arrays["users"], arrays["top"], arrays["cold"]
    films = _film_ids(folder, arrays)
    row = np.dtype(row_type(len(films)))
    names = metadata.get("cold_lists")
    problems = {
        "no film": not films,
        "a film's id occurs twice": len(set(films)) != len(films),
        "users are not int64 in one row": users.dtype != np.int64 or users.ndim != 1,
        f"top is not {row} with {RESERVE} places for each user": top.dtype != row or top.shape != (users.size, RESERVE),
        f"cold is not {row} with {RESERVE} places": cold.dtype != row or cold.ndim != 2 or cold.shape[1:] != (RESERVE,),
        "cold_lists does not name each list in cold": not isinstance(names, list) or cold.shape[:1] != (len(names),),
        "there is no cold list": not cold.size,
        f"explore and explore_pool are not {row} for each user and for the others": not _fit_explore(arrays, row),
    }
    wrong = [text for text, is_so in problems.items() if is_so]
    if not wrong:
        wrong = _wrong_content(users, [top, cold, *(arrays[name] for name in EXPLORE if name in arrays)], len(films))
    if wrong:
        raise ArtifactError(f"{folder}/serving: {'; '.join(wrong)}: train again")
    return films


def _fit_explore(arrays: Mapping[str, Array], row: np.dtype[Any]) -> bool:
    own, pool = (arrays.get(name) for name in EXPLORE)
    if own is None or pool is None:
        return own is pool
    return own.dtype == pool.dtype == row and own.ndim == 2 and own.shape[:1] == arrays["users"].shape and pool.ndim == 1


def _wrong_content(users: Array, lists: list[Array], n_films: int) -> list[str]:
    _, cold, *_ = lists
    empty = np.iinfo(cold.dtype).max
    problems = {
        "users are not in ascending order": bool(users.size and (np.diff(users) <= 0).any()),
        "the first cold list has no film": bool(cold[0, 0] == empty),
        "a list has the number of a film that does not exist": any(
            bool(((block >= n_films) & (block != empty)).any()) for block in _blocks(*lists)
        ),
    }
    return [text for text, is_so in problems.items() if is_so]


def _blocks(*arrays: Array, rows: int = 65_536) -> list[Array]:
    return [array[start : start + rows] for array in arrays for start in range(0, len(array), rows)]


def _film_ids(folder: Path, arrays: Mapping[str, Array]) -> tuple[str, ...]:
    text, ends = arrays["film_text"], arrays["film_ends"]
    fits = text.dtype == np.uint8 and ends.dtype == np.uint32 and text.ndim == ends.ndim == 1
    edges = [0, *ends.tolist()] if fits else []
    if edges[-1:] != [text.size] or any(end <= start for start, end in pairwise(edges)):
        raise ArtifactError(f"{folder}/serving: film_ends does not fit film_text: train again")
    whole = text.tobytes()
    if PLAIN.fullmatch(whole) is None:
        raise ArtifactError(f"{folder}/serving/film_text.npy: not ASCII without blanks and commas: train again")
    return tuple(whole[start:end].decode() for start, end in pairwise(edges))
