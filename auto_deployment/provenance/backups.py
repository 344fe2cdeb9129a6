"""Backup and restore of the database, as a gzip file of lines: see `app.provenance.backup`."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING

from app.provenance.backup import BackupError, OtherHistoryError, count_answers, from_lines, restore, to_lines
from auto_deployment.common.errors import RefusedError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from app.provenance.archive import Archive

RESTORE_SECONDS = 600.0  # after the last line
FAST_LEVEL = 3


def backup(archive: Archive, path: Path) -> None:
    """Write a complete backup, or none. Raises RunError if the file exists or cannot be written."""
    if path.exists():
        raise RunError(f"{path} is there already: name another file, or remove it")
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=FAST_LEVEL, mtime=0) as packed:
                packed.writelines(to_lines(archive.everything()))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}: make room, or name another place") from error
    finally:
        unfinished.unlink(missing_ok=True)


def check(path: Path) -> int:
    """The number of answers in a backup. Raises RunError for a damaged backup."""
    try:
        with gzip.open(path, "rb") as lines:
            return count_answers(lines)
    except (BackupError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RunError(f"{path}: {error}: take another backup") from error
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from error


def restore_into(archive: Archive, path: Path) -> str:
    """Restore through a connection that may insert, and return a line about the result.

    Raises RefusedError for a backup of another installation.
    """
    archive.create()
    try:
        with gzip.open(path, "rb") as lines:
            done = restore(archive, from_lines(lines))
    except OtherHistoryError as error:
        raise RefusedError(str(error)) from error
    return f"{done.added:,} answers added, {done.known:,} were there, {done.different:,} differ here and stay"


def restore_in_stack(docker: str, root: Path, path: Path) -> str:
    """Restore through the stack's `migrate` service: no other service may insert answers of others into `reccom`."""
    command = [docker, "compose", "run", "--rm", "--no-deps", "-T", "migrate", "python", "-m", "app.restore"]
    with (
        gzip.open(path, "rb") as lines,
        subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # the process ended early, and reports why
            shutil.copyfileobj(lines, process.stdin)
        output, errors = _end_of(process)
    message = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    if process.returncode == RefusedError.status:
        raise RefusedError(message[0])
    if process.returncode:
        raise RunError(f"the stack's migrate service could not restore: {message[0]}")
    return output.decode().strip()


def _end_of(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    try:
        return process.communicate(timeout=RESTORE_SECONDS)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise RunError(f"the restore did not end after {RESTORE_SECONDS:g} s of reading: look at the stack's mysql") from error
