"""Small files that a run must find whole after a crash: written aside, synced, renamed."""

from __future__ import annotations

import json
import os
import stat
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Typed = TypeVar("Typed")
PUBLIC, ENTERED = 0o644, 0o555
# To make an adapter takes milliseconds.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


class Stored(BaseModel):
    """A frozen model of a JSON file. A field's alias is its key on the disk, where the key is older than the name."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)


class StateError(RunError):
    """A state file is damaged or of another format. The message names the file and says what to do."""


@contextmanager
def replacing(path: Path, *, public: bool = False) -> Iterator[BinaryIO]:
    """Replace a file by what is written: a crash at any moment leaves the old content or the new one, never a mixture.

    Any user may read a `public` file and enter its folder, whatever the umask: its readers are users of containers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    try:
        with aside.open("wb") as file:
            if public:
                make_public(path.parent)
                os.fchmod(file.fileno(), PUBLIC)
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        # A half-written file would keep a full disk full.
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes, *, public: bool = False) -> None:
    """Replace a file, see `replacing`."""
    with replacing(path, public=public) as file:
        file.write(content)


def make_public(folder: Path) -> None:
    """Let any user enter and list a folder. A folder of another user, which has these rights, stays as it is."""
    if (mode := stat.S_IMODE(folder.stat().st_mode)) & ENTERED != ENTERED:
        folder.chmod(mode | ENTERED)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename in it reaches the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json_synced(path: Path, value: Any, *, public: bool = False) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Replace a JSON file, see `replacing`."""
    write_synced(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode(), public=public)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no file. Raises StateError for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise StateError(f"{path}: holds {type(value).__name__}, not an object")
    return value


def read_typed(path: Path, kind: type[Typed]) -> Typed | None:
    """The content of a JSON file as a `kind`, a pydantic model or a dataclass; None where there is no file.

    Raises StateError, which names the file and each key that does not fit.
    """
    value = read_json(path)
    try:
        return None if value is None else cast("Typed", _adapter(kind).validate_python(value))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the object'}: {each['msg']}" for each in error.errors()[:3])
        raise StateError(f"{path}: not a valid {kind.__name__} ({problems}): restore the file") from error


def write_typed(path: Path, value: object, *, public: bool = False) -> None:
    """Replace a JSON file by a model or dataclass, which `read_typed` reads again. `public` as in `replacing`."""
    write_json_synced(path, to_json(value), public=public)


def to_json(value: object) -> dict[str, Any]:
    """A model or dataclass as a JSON object, its fields under their aliases."""
    return dict(_adapter(type(value)).dump_python(value, mode="json", by_alias=True))
