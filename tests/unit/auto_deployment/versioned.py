"""A checkout with published versions whose parts are in a DVC remote, made without DVC and its seconds."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from auto_deployment.common.process import Commands
from auto_deployment.ingestion.watch_parts import COLUMNS
from auto_deployment.versioning.repository import Places, tag_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = "[core]\n    remote = local\n['remote \"local\"']\n    url = ../../remote\n"


class VersionedCheckout:
    """A checkout under `base`. `parts` has the content of each part by name; `remote` is the folder of the DVC remote."""

    def __init__(self, base: Path) -> None:
        self.root, self.remote = base / "checkout", base / "remote"
        self.places = Places(self.root, self.root / "data")
        self.parts: dict[str, bytes] = {}
        self.places.versioning.mkdir(parents=True)
        (self.root / ".dvc").mkdir()
        (self.root / ".dvc" / "config").write_text(CONFIG)
        (self.root / ".gitignore").write_text("*.csv\n*.parquet\n.cache/\n")
        self._commands = Commands(self.root)
        self.git("init", "--quiet", "--initial-branch", "main")
        for name in ("name", "email"):
            self.git("config", f"user.{name}", "test@example.org")

    def git(self, *arguments: str) -> str:
        """The output of a git command."""
        return self._commands.run("git", *arguments)

    def publish(self, number: int, ratings: bytes, watches: bytes, name: str | None = None) -> None:
        """Commit and tag a version with these parts. `name` is that of the watches' part where it is not today's."""
        self._add(f"clean_rating_{number}.csv", ratings)
        self._add(name or f"clean_watch_{number}.parquet", watches)
        self.commit()
        self.git("tag", tag_of(number))

    def replace(self, name: str, by: str, content: bytes) -> None:
        """Commit a part in place of another one."""
        (self.places.versioning / f"{name}.dvc").unlink()
        self._add(by, content)
        self.commit()

    def commit(self) -> None:
        """Commit the whole working copy."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a version")

    def restore(self, number: int) -> None:
        """Put the parts of a version into the working copy."""
        for name, content in self.parts.items():
            if name.partition(".")[0].endswith(f"_{number}"):
                (self.places.versioning / name).write_bytes(content)

    def object_of(self, content: bytes) -> Path:
        """The file of the remote with this content."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return self.remote / "files" / "md5" / md5[:2] / md5[2:]

    def _add(self, name: str, content: bytes) -> None:
        self.parts[name] = content
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        pointer = f"outs:\n- md5: {md5}\n  size: {len(content)}\n  hash: md5\n  path: {name}\n"
        (self.places.versioning / f"{name}.dvc").write_text(pointer)
        self.object_of(content).parent.mkdir(parents=True, exist_ok=True)
        self.object_of(content).write_bytes(content)


def rating_part(rows: Sequence[tuple[int, str, float]]) -> bytes:
    """The ratings' part with rows of user, film and stars, each on the day of January that has the number of stars."""
    lines = [f"{user},{film},{stars:g},2026-01-{int(stars):02}T08:00:00\n" for user, film, stars in rows]
    return "".join(["user_id,movie_id,rating,rated_at\n", *lines]).encode()


def watch_part(rows: Sequence[tuple[int, str, int]]) -> bytes:
    """The watches' part with rows of user, film and minutes."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        database.execute(f"CREATE TABLE part ({columns})")
        for row in sorted(rows):
            database.execute("INSERT INTO part VALUES (?, ?, ?, '2026-01-05 08:00:00', '2026-01-05 09:00:00', true)", row)
        path = Path(folder) / "part"
        database.execute(f"COPY part TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        return path.read_bytes()
