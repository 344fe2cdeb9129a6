"""Checks the data of a version: every part has its checksum in git, and all parts make the tables of the training."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.model import load_serving, read_metadata
from auto_deployment.common.errors import RefusedError
from auto_deployment.ingestion.tables import Tables
from auto_deployment.training.dataset import read
from auto_deployment.versioning.repository import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from app.model import Array, ServingModel
    from auto_deployment.training.dataset import Dataset
    from scripts.check.checkout import Checkout

BLOCK_PAIRS = 65_536


class JoinedParts(NamedTuple):
    """A table made of its parts: the header once, then the rows of each part."""

    md5: str
    rows: int
    size: int


def check(checkout: Checkout) -> list[str]:
    """A line for each check that passed. Raises RefusedError for the first failure."""
    parts = checkout.parts()
    checkout.require_as_named([*parts, checkout.model])
    metadata = read_metadata(checkout.model)
    offsets = checkout.read(checkout.places.offsets)
    tables = {table: join_parts(checkout.parts(table)) for table in TABLES}
    wrong = [*numbers(checkout.number, _numbers(checkout)), *totals(tables, metadata, offsets, checkout.number)]
    if wrong:
        raise RefusedError("; ".join(wrong))
    newest = read(_newest(checkout), checkout.settings.scale)
    served = served_again(load_serving(checkout.model), newest)
    if served:
        raise RefusedError(f"{served:,} lists of the model have a film that the user rated or watched: train again")
    return [
        f"version {checkout.number}: {len(parts)} parts have their checksums in git",
        *(f"{table}: {whole.rows:,} rows, md5 {whole.md5}, as the model says" for table, whole in tables.items()),
        f"the rows that version {checkout.number} added pass the checks of the training, and no list repeats a film of them",
    ]


def join_parts(parts: Sequence[Path]) -> JoinedParts:
    """Join the parts in their order, in memory only."""
    digest, rows, size = hashlib.md5(usedforsecurity=False), 0, 0
    for at, path in enumerate(parts):
        with path.open("rb") as part:
            header = b"" if at else part.readline()
            if at:
                part.readline()
            digest.update(header)
            size += len(header)
            while block := part.read(1 << 20):
                digest.update(block)
                rows += block.count(b"\n")
                size += len(block)
    return JoinedParts(digest.hexdigest(), rows, size)


def numbers(number: int, named: Mapping[str, Sequence[int]]) -> list[str]:
    """Missing and surplus parts: each version from 1 to `number` must have one part of each table. Pure."""
    wanted = set(range(1, number + 1))
    wrong = []
    for table, found in named.items():
        lost, odd = sorted(wanted - set(found)), sorted(set(found) - wanted)
        wrong += [f"{table}: git names no part of version {', '.join(map(str, lost))}"] if lost else []
        wrong += [f"{table}: git names parts beyond version {number}: {', '.join(map(str, odd))}"] if odd else []
    return wrong


def totals(
    tables: Mapping[str, JoinedParts], metadata: Mapping[str, Any], offsets: Mapping[str, Any], number: int
) -> list[str]:
    """Differences between the joined parts, the model's metadata and the version's offsets. Pure."""
    wrong = []
    trained = {table: metadata["data"][f"{table}.csv"] for table in TABLES}
    for table, whole in tables.items():
        if whole.rows != trained[table]["rows"]:
            wrong.append(f"{table}: {whole.rows:,} rows, but the model was trained on {trained[table]['rows']:,}")
        elif whole.md5 != trained[table]["md5"]:
            wrong.append(f"{table}: md5 {whole.md5}, but the model was trained on {trained[table]['md5']}")
        if whole.size != offsets["sizes"].get(table):
            wrong.append(f"{table}: {whole.size:,} bytes, but offsets.json says {offsets['sizes'].get(table)}")
    if metadata["data_md5"] != trained["clean_rating"]["md5"]:
        wrong.append("data_md5 in metadata.json is not the checksum of clean_rating.csv")
    if offsets["version"] != number:
        wrong.append(f"offsets.json is of version {offsets['version']}, version.txt says {number}")
    return wrong


def served_again(model: ServingModel, history: Dataset) -> int:
    """How many lists have a film that the user rated or watched in `history`. The number must be 0."""
    rows = {film: row for row, film in enumerate(model.films)}
    film_of = np.array([rows.get(film, -1) for film in history.films], dtype=np.int64)
    pairs = [(history.users[each.user], film_of[each.film]) for each in (history.ratings, history.watches)]
    affected: set[int] = set()
    for users, films in pairs:
        for start in range(0, len(users), BLOCK_PAIRS):
            affected.update(_repeats(model, users[start : start + BLOCK_PAIRS], films[start : start + BLOCK_PAIRS]))
    return len(affected)


def _repeats(model: ServingModel, users: Array, films: Array) -> list[int]:
    """The users whose list has the film, for pairs of a user's id and a film's row (-1: not in the catalogue)."""
    at = np.minimum(np.searchsorted(model.users, users), max(len(model.users) - 1, 0))
    known = (model.users[at] == users) & (films >= 0)
    listed = (model.top[at[known]] == films[known, None]).any(axis=1)
    if model.explore is not None:
        listed |= (model.explore[at[known]] == films[known, None]).any(axis=1)
    repeated: list[int] = users[known][listed].tolist()
    return repeated


def _numbers(checkout: Checkout) -> dict[str, list[int]]:
    """The numbers of the parts that git names, by table."""
    names = [path.name.removesuffix(".csv.dvc") for path in checkout.places.versioning.glob("*.csv.dvc")]
    return {table: [int(name.removeprefix(f"{table}_")) for name in names if name.startswith(table)] for table in TABLES}


def _newest(checkout: Checkout) -> Tables:
    """The version's own parts in place of the whole tables."""
    tables = Tables(checkout.places.data)
    tables.ratings, tables.watches = (checkout.places.part(table, checkout.number) for table in TABLES)
    return tables
