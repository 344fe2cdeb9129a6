"""The data of a version: every part as git names it, all parts together the tables that the model was trained on."""

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
    from scripts.check.place import Place

BLOCK_PAIRS = 65_536


class Whole(NamedTuple):
    """What parts make when they are put together: one header, then the rows of each."""

    md5: str
    rows: int
    size: int


def check(place: Place) -> list[str]:
    """What was found right. Raises RefusedError for the first thing that is not."""
    parts = place.parts()
    place.require_as_named([*parts, place.model])
    metadata = read_metadata(place.model)
    offsets = place.read(place.places.offsets)
    wholes = {table: put_together(place.parts(table)) for table in TABLES}
    wrong = [*numbers(place.number, _numbers(place)), *sums(wholes, metadata, offsets, place.number)]
    if wrong:
        raise RefusedError("; ".join(wrong))
    newest = read(_newest(place), place.settings.scale)
    served = served_again(load_serving(place.model), newest)
    if served:
        raise RefusedError(f"{served:,} lists of the model hold a film that their user has rated or watched: train again")
    return [
        f"version {place.number}: {len(parts)} parts are as git names them",
        *(f"{table}: {whole.rows:,} rows, md5 {whole.md5}, as the model says" for table, whole in wholes.items()),
        f"the rows that version {place.number} added pass the checks of the training, and no list repeats one of them",
    ]


def put_together(parts: Sequence[Path]) -> Whole:
    """What the parts make in their order, without writing it."""
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
    return Whole(digest.hexdigest(), rows, size)


def numbers(number: int, named: Mapping[str, Sequence[int]]) -> list[str]:
    """What is wrong with the parts that git names: each version from 1 to `number` has one of each table. Pure."""
    wanted = set(range(1, number + 1))
    wrong = []
    for table, found in named.items():
        lost, odd = sorted(wanted - set(found)), sorted(set(found) - wanted)
        wrong += [f"{table}: git names no part of version {', '.join(map(str, lost))}"] if lost else []
        wrong += [f"{table}: git names parts beyond version {number}: {', '.join(map(str, odd))}"] if odd else []
    return wrong


def sums(wholes: Mapping[str, Whole], metadata: Mapping[str, Any], offsets: Mapping[str, Any], number: int) -> list[str]:
    """What does not add up: the parts put together against the model's metadata and the version's offsets. Pure."""
    wrong = []
    told = {table: metadata["data"][f"{table}.csv"] for table in TABLES}
    for table, whole in wholes.items():
        if whole.rows != told[table]["rows"]:
            wrong.append(f"{table}: {whole.rows:,} rows, but the model was trained on {told[table]['rows']:,}")
        elif whole.md5 != told[table]["md5"]:
            wrong.append(f"{table}: md5 {whole.md5}, but the model was trained on {told[table]['md5']}")
        if whole.size != offsets["sizes"].get(table):
            wrong.append(f"{table}: {whole.size:,} bytes, but offsets.json says {offsets['sizes'].get(table)}")
    if metadata["data_md5"] != told["clean_rating"]["md5"]:
        wrong.append("data_md5 of the metadata is not the checksum of clean_rating.csv")
    if offsets["version"] != number:
        wrong.append(f"offsets.json is of version {offsets['version']}, version.txt says {number}")
    return wrong


def served_again(model: ServingModel, seen: Dataset) -> int:
    """How many lists hold a film that their user has in `seen`, which must never be."""
    rows = {film: row for row, film in enumerate(model.films)}
    film_of = np.array([rows.get(film, -1) for film in seen.films], dtype=np.int64)
    pairs = [(seen.users[each.user], film_of[each.film]) for each in (seen.ratings, seen.watches)]
    bad: set[int] = set()
    for users, films in pairs:
        for start in range(0, len(users), BLOCK_PAIRS):
            bad.update(_repeats(model, users[start : start + BLOCK_PAIRS], films[start : start + BLOCK_PAIRS]))
    return len(bad)


def _repeats(model: ServingModel, users: Array, films: Array) -> list[int]:
    """Of pairs of a user's id and a film's row (-1: not in the catalogue), the users whose list holds the film."""
    at = np.minimum(np.searchsorted(model.users, users), max(len(model.users) - 1, 0))
    known = (model.users[at] == users) & (films >= 0)
    held = (model.top[at[known]] == films[known, None]).any(axis=1)
    if model.explore is not None:
        held |= (model.explore[at[known]] == films[known, None]).any(axis=1)
    found: list[int] = users[known][held].tolist()
    return found


def _numbers(place: Place) -> dict[str, list[int]]:
    """The versions of which git names a part, by table."""
    names = [path.name.removesuffix(".csv.dvc") for path in place.places.versioning.glob("*.csv.dvc")]
    return {table: [int(name.removeprefix(f"{table}_")) for name in names if name.startswith(table)] for table in TABLES}


def _newest(place: Place) -> Tables:
    """The version's own parts, read as the whole tables are."""
    tables = Tables(place.places.data)
    tables.ratings, tables.watches = (place.places.part(table, place.number) for table in TABLES)
    return tables
