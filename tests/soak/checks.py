"""What has to be true of an installation at the end of its months."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from app.model import load_serving
from auto_deployment.reports.beyond_accuracy import TREND
from tests.integration.checkout import ROOT, Checkout
from tests.soak.year import bytes_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.soak.installation import Installation

RESTORE_SECONDS = 600.0
# docs/pipeline.md, Growth.
KEPT_VERSIONS, KEPT_DAYS, KEPT_MODELS, KEPT_LOGS, LOG_BYTES = 30, 30, 46, 15, 10 << 20
# A kept file may be of the version under way, and a log ends with a whole line.
SLACK = 1.01
DEVIATION = 0.2
SLOWER = 1.25
TOPIC = "movielog4/0"


class Size(NamedTuple):
    """What something takes, and what docs/benchmarks.md says that it takes, in bytes."""

    name: str
    measured: float
    predicted: float

    @property
    def fits(self) -> bool:
        """Whether the docs are right by a fifth."""
        return abs(self.measured / self.predicted - 1) <= DEVIATION

    def __str__(self) -> str:
        ratio = self.measured / self.predicted
        return f"{self.name:24} {self.measured:14,.1f} bytes, by the docs {self.predicted:14,.1f}: {ratio:.2f}"


def restored_clone(installation: Installation, folder: Path) -> Checkout:
    """A fresh clone whose tables `restore` made from the remotes alone, with the last model."""
    fresh = Checkout(folder, installation.remote.parent, first=False)
    command = [*fresh.argv()[:2], "auto_deployment.restore"]
    ended = subprocess.run(
        command, cwd=folder, env=fresh.environment, capture_output=True, text=True, timeout=RESTORE_SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    pull_parts(fresh)
    return fresh


def pull_parts(checkout: Checkout) -> None:
    """Fetch the parts of all versions, and the last model."""
    checkout.command("dvc", "pull", "--quiet", "--remote", "local")


def published(checkout: Checkout) -> dict[str, str]:
    """Commits and tags of the git remote, as this checkout sees them."""
    return {
        "commits": checkout.command("git", "log", "--format=%s", "origin/main"),
        "tags": checkout.command("git", "ls-remote", "--tags", "--refs", "origin"),
        "changes": checkout.command("git", "status", "--short"),
    }


def tracked_versions(installation: Installation) -> list[int]:
    """The versions in the database."""
    with closing(sqlite3.connect(installation.database)) as database:
        return [number for (number,) in database.execute("SELECT version_number FROM tracking ORDER BY 1")]


def same_answers(ours: Path, theirs: Path) -> bool:
    """Whether two artifacts give every user the same films in the same order."""
    one, other = load_serving(ours), load_serving(theirs)
    return one.films == other.films and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("users", "top", "cold")
    )


def unbounded(installation: Installation) -> list[str]:
    """What grew beyond the bounds of docs/pipeline.md; nothing where all keep to them."""
    root, data = installation.folder, installation.data("")
    logs = [path.stat().st_size for path in root.glob("logs/auto_deploy.log*")]
    bounds = {
        "files of quarantine": (len(list(data.glob("quarantine/*"))), KEPT_VERSIONS + 1),
        "files of repairs": (len(list(data.glob("repaired/*"))), KEPT_VERSIONS + 1),
        "files of visitors": (len(list(data.glob("visitors/*"))), KEPT_VERSIONS + 1),
        "days of telemetry": (len(list(data.glob("telemetry/watches/[0-9]*"))), KEPT_DAYS),
        "popular lists": (len(list(data.glob("telemetry/popular/*.json"))), KEPT_DAYS),
        "models in DVC's cache": (len(list(root.glob(".dvc/cache/files/md5/??/*.dir"))), 1),
        "models in the DVC remote": (len(list(installation.dvc_remote.glob("files/md5/??/*.dir"))), KEPT_MODELS),
        "parts in the checkout": (len(list(data.glob("versioning/clean_rating_*.csv"))), 1),
        "pair tables": (len(list(data.glob("pairs/*/"))), 1),
        "fetched versions": (len(list(root.glob(".cache/versions/*"))), 3),
        "logs": (len(logs), KEPT_LOGS),
        "bytes of a log": (max(logs), LOG_BYTES * SLACK),
    }
    return [f"{name}: {found:,}, but at most {most:,.0f} by the docs" for name, (found, most) in bounds.items() if found > most]


def sizes(installation: Installation, fresh: Checkout) -> list[Size]:
    """What rows, versions and a model take, and what docs/benchmarks.md predicts. All versions must be pushed."""
    metadata = json.loads(fresh.data("model/metadata.json").read_bytes())
    rows = {name: entry["rows"] for name, entry in metadata["data"].items()}
    serving = load_serving(fresh.data("model"))
    kept = [_as_of_topic(line) for kind in ("quarantine", "repaired") for line in _lines_below(installation.data(kind))]
    parts = fresh.data("versioning").glob("clean_watch_*.parquet")
    arrays = sum(path.stat().st_size for path in fresh.data("model").glob("*/*.npy"))
    fresh.command("git", "gc", "--quiet")
    [of_rating] = _figures("a row of ratings")
    [of_watch] = _figures("a row in a small part of watches")
    [of_kept] = _figures("a line kept aside")
    of_first, of_later = _figures("a version in git, packed, without demographics: the first; from version 30 on")
    versions = metadata["version"]
    of_version = of_first + (of_later - of_first) * min(1, versions / TREND)
    of_user, of_film = _figures("a user in a model; a film")
    return [
        Size("a row of ratings", fresh.data("clean_rating.csv").stat().st_size / rows["clean_rating.csv"], of_rating),
        Size("a row of watches", sum(path.stat().st_size for path in parts) / rows["clean_watch"], of_watch),
        Size("a line kept aside", fmean(map(len, kept)), of_kept),
        Size("a version in git", bytes_below(fresh.folder / ".git" / "objects") / versions, of_version),
        Size("the model", arrays, of_user * len(serving.users) + of_film * len(serving.films)),
    ]


def _lines_below(folder: Path) -> Iterator[str]:
    """The lines of all files in a folder, with their ends."""
    for path in folder.iterdir():
        with path.open(encoding="ascii") as file:
            yield from file


def _as_of_topic(line: str) -> str:
    """A kept line as it would be of a topic: the path of a file may have any length."""
    return json.dumps({**json.loads(line), "source": TOPIC}) + "\n"


def _figures(name: str) -> list[float]:
    """The numbers in the row of docs/benchmarks.md that begins with this name."""
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    [found] = re.findall(rf"^\| {re.escape(name)} \| ([^|]*) \|$", page, re.MULTILINE)
    return [float(number.replace(",", "")) for number in found.split("; ")]
