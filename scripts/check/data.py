"""Checks the data of a version: new parts have their checksums in git, are sound, and continue the data of the version before.

A part is read once. A check that passed notes the checksums of all parts in `.cache/checked_data.json`. The next check here
reads only other parts. Without that file, the parts that the tag of the version before names count as read.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from app.model import load_serving
from auto_deployment.common.database import Database
from auto_deployment.common.errors import RefusedError
from auto_deployment.common.json_file import Stored, read_json, read_typed, write_json_synced
from auto_deployment.ingestion import table_rows, watch_parts
from auto_deployment.ingestion.tables import EARLIER_WATCH_HEADER, RATING_HEADER
from auto_deployment.versioning.pointers import md5_of_list
from auto_deployment.versioning.repository import RATINGS, TABLES, WATCHES, tag_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.model import Array, ServingModel
    from scripts.check.checkout import Checkout, Part

    Parts = Mapping[str, Mapping[int, Part]]

BLOCK_PAIRS = 65_536
RECORD = Path(".cache") / "checked_data.json"
SCRATCH = Path(".cache") / "check"


class CheckedParts(Stored):
    """The md5 of each part by name. Checks here have read those of versions from `since` on; a tag named the others."""

    since: int
    parts: dict[str, str]


class Scope(NamedTuple):
    """A check reads the parts of versions from `first` on. Earlier checks here have read those from `since` on."""

    first: int
    since: int


def needs(checkout: Checkout) -> list[Path]:
    """The files that the check reads."""
    return [*_paths(checkout.parts, scope_of(checkout).first), checkout.model]


def check(checkout: Checkout) -> list[str]:
    """A line for each check that passed. Raises RefusedError for the first failure."""
    scope, parts = scope_of(checkout), checkout.parts
    wrong = [*numbers(checkout.number, parts), *changed(parts, checkout.parts_as_tagged(checkout.number - 1))]
    if wrong:
        raise RefusedError("; ".join(wrong))
    paths = _paths(parts, scope.first)
    checkout.require_as_named([*paths, checkout.model])
    model, offsets = load_serving(checkout.model), checkout.read(checkout.places.offsets)
    rows = _rows_before(checkout, scope.first) or dict.fromkeys(TABLES, 0)
    served = set[int]()
    with Database(checkout.places.root / SCRATCH) as database:
        for path in paths:
            found, pairs = read_part(path, database, checkout.settings.scale)
            rows[_table_of(path)] += found
            served |= served_again(model, pairs)
    wrong = totals(parts, rows, model.metadata, offsets, checkout.number)
    if scope.first == 1:
        wrong += [line for table in TABLES for line in joined(table, parts[table], model.metadata)]
    if wrong:
        raise RefusedError("; ".join(wrong))
    if served:
        raise RefusedError(f"{len(served):,} lists of the model have a film that the user rated or watched: train again")
    _note(checkout, scope)
    return _passed(checkout, scope, rows)


def scope_of(checkout: Checkout) -> Scope:
    """What to read: everything also where the rows of the version before are not known."""
    record = None if checkout.everything else read_typed(checkout.places.root / RECORD, CheckedParts)
    read = checkout.parts_as_tagged(checkout.number - 1) if record is None else record.parts
    first = first_unread(checkout.parts, read, checkout.number)
    if checkout.everything or _rows_before(checkout, first) is None:
        return Scope(1, 1)
    return Scope(first, first if record is None else min(record.since, first))


def first_unread(parts: Parts, read: Mapping[str, str], number: int) -> int:
    """The first version with a part that is not among those that were read, by name and md5; at most `number`. Pure."""
    unread = [version for table in parts.values() for version, part in table.items() if read.get(part.path.name) != part.md5]
    return min([*unread, number])


def numbers(number: int, parts: Parts) -> list[str]:
    """Missing and surplus parts: each version from 1 to `number` must have one part of each table. Pure."""
    wanted = set(range(1, number + 1))
    wrong = []
    for table, found in parts.items():
        lost, odd = sorted(wanted - set(found)), sorted(set(found) - wanted)
        wrong += [f"{table}: git names no part of version {', '.join(map(str, lost))}"] if lost else []
        wrong += [f"{table}: git names parts beyond version {number}: {', '.join(map(str, odd))}"] if odd else []
    return wrong


def changed(parts: Parts, before: Mapping[str, str]) -> list[str]:
    """Parts whose md5 git named otherwise `before`. A part never changes: a conversion to Parquet has another name. Pure."""
    now = {name: md5 for table in parts.values() for name, md5 in _by_name(table).items()}
    odd = [name for name, md5 in before.items() if now.get(name, md5) != md5]
    return [f"{name}: git names another md5 than the version before" for name in odd]


def totals(
    parts: Parts, rows: Mapping[str, int], metadata: Mapping[str, Any], offsets: Mapping[str, Any], number: int
) -> list[str]:
    """Differences between the parts of all versions, the model's metadata and the version's offsets. Pure.

    `rows` has the rows of all parts by table.
    """
    trained = {table: trained_on(metadata, table) for table in TABLES}
    wrong = [
        f"{table}: {rows[table]:,} rows, but the model was trained on {data['rows']:,}"
        for table, data in trained.items()
        if rows[table] != data["rows"]
    ]
    size, recorded = joined_size(parts[RATINGS], RATING_HEADER), offsets["sizes"].get(RATINGS)
    if size != recorded:
        wrong.append(f"{RATINGS}: {size:,} bytes, but offsets.json says {recorded}")
    if metadata["data_md5"] != trained[RATINGS]["md5"]:
        wrong.append("data_md5 in metadata.json is not the checksum of clean_rating.csv")
    if not _is_csv(parts[WATCHES]) and (md5 := md5_of_list(_by_name(parts[WATCHES]))) != trained[WATCHES]["md5"]:
        wrong.append(f"{WATCHES}: the list of parts has md5 {md5}, but the model was trained on {trained[WATCHES]['md5']}")
    if offsets["version"] != number:
        wrong.append(f"offsets.json is of version {offsets['version']}, version.txt says {number}")
    return wrong


def trained_on(metadata: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    """The md5 and rows of a table, by a model's metadata or a report's data. Watches were a CSV table before software 1.1."""
    data: Mapping[str, Mapping[str, Any]] = metadata["data"]
    return data[table] if table in data else data[f"{table}.csv"]


def joined(table: str, parts: Mapping[int, Part], metadata: Mapping[str, Any]) -> list[str]:
    """A difference between all parts of a CSV table, joined, and what the model was trained on."""
    if not _is_csv(parts):
        return []
    md5, wanted = md5_of_joined([part.path for part in parts.values()]), trained_on(metadata, table)["md5"]
    return [] if md5 == wanted else [f"{table}: md5 {md5}, but the model was trained on {wanted}"]


def md5_of_joined(paths: Sequence[Path]) -> str:
    """The md5 of a table made of its parts: the header once, then the rows of each part."""
    digest = hashlib.md5(usedforsecurity=False)
    for at, path in enumerate(paths):
        with path.open("rb") as part:
            header = part.readline()
            digest.update(b"" if at else header)
            while block := part.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def joined_size(parts: Mapping[int, Part], header: str) -> int:
    """The bytes of a CSV table made of its parts, by the sizes that git names. Pure."""
    return sum(part.size for part in parts.values()) - (len(header) + 1) * max(len(parts) - 1, 0)


def read_part(path: Path, database: Database, scale: tuple[float, float]) -> tuple[int, Mapping[str, Array]]:
    """The number of rows, and the pairs as arrays `user_id` and `movie_id`. Raises RefusedError naming the first wrong row."""
    if path.suffix == ".parquet":
        rows, relation = watch_parts.check(path, database), watch_parts.relation([path])
    elif _table_of(path) == RATINGS:
        rows, relation = table_rows.load(database, "part", path, RATING_HEADER, scale), "part"
    else:
        rows, relation = table_rows.load(database, "part", path, EARLIER_WATCH_HEADER), "part"
    return rows, database.arrays(f"SELECT DISTINCT user_id, movie_id FROM {relation}")  # noqa: S608 - words of our own


def served_again(model: ServingModel, pairs: Mapping[str, Array]) -> set[int]:
    """The users whose list has a film of a pair. There must be none."""
    films = pd.Index(model.films).get_indexer(pd.Index(pairs["movie_id"])).astype(np.int64)
    found = set[int]()
    for start in range(0, len(films), BLOCK_PAIRS):
        block = slice(start, start + BLOCK_PAIRS)
        found.update(_repeats(model, pairs["user_id"][block], films[block]))
    return found


def _repeats(model: ServingModel, users: Array, films: Array) -> list[int]:
    """The users whose list has the film, for pairs of a user's id and a film's row (-1: not in the catalogue)."""
    at = np.minimum(np.searchsorted(model.users, users), max(len(model.users) - 1, 0))
    known = (model.users[at] == users) & (films >= 0)
    listed = (model.top[at[known]] == films[known, None]).any(axis=1)
    if model.explore is not None:
        listed |= (model.explore[at[known]] == films[known, None]).any(axis=1)
    repeated: list[int] = users[known][listed].tolist()
    return repeated


def _rows_before(checkout: Checkout, first: int) -> dict[str, int] | None:
    """The rows of each table before version `first`, by the report of the version before; None where it does not say."""
    if first == 1:
        return dict.fromkeys(TABLES, 0)
    report = read_json(checkout.places.report(first - 1))
    try:
        return {table: int(trained_on((report or {})["data"], table)["rows"]) for table in TABLES}
    except (KeyError, TypeError):
        return None


def _paths(parts: Parts, first: int) -> list[Path]:
    return [part.path for table in parts.values() for version, part in table.items() if version >= first]


def _by_name(table: Mapping[int, Part]) -> dict[str, str]:
    return {part.path.name: part.md5 for part in table.values()}


def _table_of(path: Path) -> str:
    return path.name.rpartition("_")[0]


def _is_csv(parts: Mapping[int, Part]) -> bool:
    return all(part.path.suffix == ".csv" for part in parts.values())


def _note(checkout: Checkout, scope: Scope) -> None:
    parts = {name: md5 for table in checkout.parts.values() for name, md5 in _by_name(table).items()}
    write_json_synced(checkout.places.root / RECORD, CheckedParts(since=scope.since, parts=parts).model_dump())


def _passed(checkout: Checkout, scope: Scope, rows: Mapping[str, int]) -> list[str]:
    last, read = scope.since - 1, _versions(scope.first, checkout.number)
    earlier = f"parts of {_versions(scope.since, scope.first - 1)}: as earlier checks here have read them"
    trusted = f"parts of {_versions(1, last)}: as {tag_of(last)} named them; no check here has read them (--all reads them)"
    return [
        f"the {len(_paths(checkout.parts, scope.first))} parts of {read} have their checksums in git and are sound",
        *([earlier] if scope.since < scope.first else []),
        *([trusted] if scope.since > 1 else []),
        *(f"{table}: {rows[table]:,} rows, as the model says" for table in TABLES),
        f"no list repeats a film of the parts of {read}",
    ]


def _versions(first: int, last: int) -> str:
    return f"version {first}" if first == last else f"versions {first} to {last}"
