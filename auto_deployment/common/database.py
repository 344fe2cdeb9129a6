"""DuckDB with bounded memory. What does not fit into memory goes to a scratch folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self

import duckdb
import numpy as np

from auto_deployment.common.errors import RunError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

# The memory of a query; the rest goes to the disk. https://duckdb.org/docs/stable/guides/performance/how_to_tune_workloads
MEMORY = "512MB"
THREADS = 2
LEAST_MEMORY_GB = 0.25
BLOCK_BYTES = 1 << 20
# Prefix of a scratch folder; the id of its process follows.
QUERY = "query-"

Error = duckdb.Error
# A disk that is full or fails.
NO_ROOM = (duckdb.IOException, OSError)


class OutOfMemoryError(RunError):
    """A query needs more than the limit, or than there is room for on the disk."""


class Database:
    """A private database in memory. Every method raises `Error`, or OutOfMemoryError, which blames no file that was read."""

    def __init__(self, scratch: Path, memory: str | None = None) -> None:
        """`scratch` holds what does not fit into `memory`, and is removed with the database. Raises OSError."""
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{QUERY}{os.getpid()}-", dir=scratch))
        self._memory = memory or MEMORY
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": self._memory,
                "threads": THREADS,
                "temp_directory": str(self._folder / "spilled"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        self._connection.execute("SET enable_progress_bar = false")  # it would fill a log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, sql: str) -> None:
        """Run a statement without a result."""
        with self._limited():
            self._connection.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query whose result is small."""
        with self._limited():
            return self._connection.execute(sql).fetchall()

    def arrays(self, sql: str) -> dict[str, npt.NDArray[Any]]:
        """The columns of a query's rows, which have no NULL, as arrays."""
        with self._limited():
            return {name: np.asarray(column) for name, column in self._connection.execute(sql).fetchnumpy().items()}

    def scratch(self, name: str, lines: Iterable[str]) -> Path:
        """Write the lines to a file that is removed with the database."""
        path = self._folder / name
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines(f"{line}\n" for line in lines)
        return path

    def scratch_copy(self, name: str, head: bytes, source: BinaryIO, size: int) -> Path:
        """Write `head` and the next `size` bytes of `source` to a file that is removed with the database."""
        path = self._folder / name
        with path.open("wb") as file:
            file.write(head)
            while size > 0 and (block := source.read(min(size, BLOCK_BYTES))):
                file.write(block)
                size -= len(block)
        return path

    def load(self, table: str, columns: str, lines: Iterable[str]) -> None:
        """Make a table of tab-separated lines. `columns` has the form of DuckDB's `read_csv`."""
        path = self.scratch(table, lines)
        self.run(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM {read_lines(path, columns)}")
        path.unlink()

    def copy(self, query: str, path: Path) -> None:
        """Write a query's rows to a Parquet file. The file is complete, or it does not exist."""
        unfinished = path.with_name(f".{path.name}.new")
        self.write(query, unfinished, "v1")
        sync_file(unfinished)
        unfinished.replace(path)

    def write(self, query: str, path: Path, encodings: Literal["v1", "v2"]) -> None:
        """Write a query's rows to a Parquet file; the caller syncs the file. The encodings `v2` take half the time."""
        self.run(f"COPY ({query}) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION {encodings})")

    @contextmanager
    def _limited(self) -> Iterator[None]:
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemoryError(
                f"a query needs more than its {self._memory} of memory and the disk of {self._folder.parent} "
                f"({first_line(error)}): set a higher MEMORY_GB, or make room there"
            ) from error


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def database_memory(memory_gb: float) -> str:
    """DuckDB's share of a run's memory: a quarter, because the arrays are outside of it. Below a least share it cannot work."""
    return f"{max(memory_gb / 4, LEAST_MEMORY_GB):.3f}GB"


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def read_lines(path: Path, columns: str) -> str:
    """The SQL relation of a file of tab-separated lines."""
    return (
        f"read_csv({quoted(str(path))}, header=false, auto_detect=false, delim='\\t', quote='', escape='', columns={columns})"
    )
