"""DuckDB with bounded memory, and a folder for what does not fit."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterable

# What a query may hold; the rest goes to the disk. https://duckdb.org/docs/stable/guides/performance/how_to_tune_workloads
MEMORY = "512MB"
THREADS = 2
# What a folder of scratch is called, before the number of the process that it belongs to.
QUERY = "query-"

Error = duckdb.Error


class Database:
    """A database of its own, in memory. Every method raises `Error`."""

    def __init__(self, scratch: Path) -> None:
        """`scratch` holds what does not fit into memory, and goes with the database. Raises OSError."""
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{QUERY}{os.getpid()}-", dir=scratch))
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY,
                "threads": THREADS,
                "temp_directory": str(self._folder / "spilled"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, sql: str) -> None:
        """Do a statement."""
        self._connection.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query whose result is small."""
        return self._connection.execute(sql).fetchall()

    def scratch(self, name: str, lines: Iterable[str]) -> Path:
        """A file of these lines, which goes with the database."""
        path = self._folder / name
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines(f"{line}\n" for line in lines)
        return path

    def load(self, table: str, columns: str, lines: Iterable[str]) -> None:
        """Make a table of lines with tabs; `columns` as DuckDB's `read_csv` takes them."""
        path = self.scratch(table, lines)
        self.run(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM {read_lines(path, columns)}")
        path.unlink()

    def copy(self, query: str, path: Path) -> None:
        """Write a query's rows to a Parquet file that is there whole or not at all."""
        aside = path.with_name(f".{path.name}.new")
        self.run(f"COPY ({query}) TO {quoted(str(aside))} (FORMAT parquet, COMPRESSION zstd)")
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def read_lines(path: Path, columns: str) -> str:
    """Lines with tabs, as SQL to select from."""
    return (
        f"read_csv({quoted(str(path))}, header=false, auto_detect=false, delim='\\t', quote='', escape='', columns={columns})"
    )
