"""Backup and restore of the database, as a packed file of lines: see `app.provenance.backup`."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING

from app.provenance.backup import BackupError, OtherHistoryError, from_lines, restore, to_lines
from auto_deployment.common.errors import RefusedError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from app.provenance.archive import Archive

RESTORE_SECONDS = 600.0  # after its last line
PACKED_FAST = 3


def backup(archive: Archive, path: Path) -> None:
    """Write a backup, whole or not at all. Raises RunError where there is a file already or it cannot be written."""
    if path.exists():
        raise RunError(f"{path} is there already: name another file, or remove it")
    aside = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=PACKED_FAST, mtime=0) as packed:
                packed.writelines(to_lines(archive.everything()))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}: make room, or name another place") from error
    finally:
        aside.unlink(missing_ok=True)


def check(path: Path) -> int:
    """How many answers a whole backup holds. Raises RunError for a damaged one, before anything is restored."""
    try:
        with gzip.open(path, "rb") as lines:
            return sum(not isinstance(each, dict) for each in from_lines(lines))
    except (BackupError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RunError(f"{path}: {error}: take another backup") from error
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from error


def restore_into(archive: Archive, path: Path) -> str:
    """Restore by a connection that may insert; what was done, as a line. Raises RefusedError for another installation's."""
    archive.create()
    try:
        with gzip.open(path, "rb") as lines:
            done = restore(archive, from_lines(lines))
    except OtherHistoryError as error:
        raise RefusedError(str(error)) from error
    return f"{done.added:,} answers added, {done.known:,} were there, {done.different:,} differ here and stay"


def restore_in_stack(docker: str, root: Path, path: Path) -> str:
    """Restore by the stack's `migrate` service, which alone may insert into `reccom` for others than a service."""
    command = [docker, "compose", "run", "--rm", "--no-deps", "-T", "migrate", "python", "-m", "app.restore"]
    with (
        gzip.open(path, "rb") as lines,
        subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError):  # it ended early, and says why
            shutil.copyfileobj(lines, process.stdin)
        said, errors = _end_of(process)
    words = errors.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    if process.returncode == RefusedError.status:
        raise RefusedError(words[0])
    if process.returncode:
        raise RunError(f"the stack's migrate service could not restore: {words[0]}")
    return said.decode().strip()


def _end_of(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    try:
        return process.communicate(timeout=RESTORE_SECONDS)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise RunError(f"the restore did not end after {RESTORE_SECONDS:g} s of reading: look at the stack's mysql") from error
