"""Retention: past days become one file each, and the oldest days are dropped, by age and by size."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.database import QUERY, Database
from auto_deployment.common.json_file import sync_folder
from auto_deployment.online_evaluation.parquet_store import KINDS, ORDER, SCRATCH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.online_evaluation.parquet_store import Kind, ParquetStore

WHOLE = "all.parquet"
# A block covers minutes: a user's watches of one film on one day stand in many rows.
COMPACTED: Mapping[Kind, str] = {
    "answers": "SELECT * FROM {rows}",
    "watches": (
        "SELECT user_id, film, min(begun) AS begun, sum(minutes)::UINTEGER AS minutes FROM {rows} GROUP BY user_id, film"
    ),
}


def compact(store: ParquetStore, today: str) -> int:
    """Join the files of each day before `today`, and return the number of joined days. Raises OSError or `Error`.

    Compact only blocks up to the last version: no run reads these blocks again.
    """
    days = [(kind, day) for kind in KINDS for day in store.days(kind) if day < today]
    several = [(kind, day) for kind, day in days if len(list((store.folder / kind / day).glob("*.parquet"))) > 1]
    for kind, day in several:
        _compact(store, kind, day)
    return len(several)


def recover(folder: Path) -> None:
    """Complete or undo the compaction that a killed run began, and remove its scratch folders."""
    for old in folder.glob("*/.*.old"):
        day = old.with_name(old.name[1 : -len(".old")])
        new = day.with_name(f".{day.name}.new")
        if not day.exists():
            (new if new.exists() else old).rename(day)
        shutil.rmtree(old, ignore_errors=True)
    for new in folder.glob("*/.*.new"):
        shutil.rmtree(new, ignore_errors=True)
    for new in folder.rglob(".*.parquet.new"):
        new.unlink(missing_ok=True)
    for query in folder.glob(f"{SCRATCH}/{QUERY}*"):
        if not _is_alive(int(query.name.removeprefix(QUERY).partition("-")[0])):
            shutil.rmtree(query, ignore_errors=True)


def _is_alive(process: int) -> bool:
    """Whether the process lives. The release's controller works at the same time as the pipeline."""
    return Path(f"/proc/{process}").exists()


def expired_days(sizes: Mapping[str, int], today: date, keep_days: int, max_bytes: float) -> list[str]:
    """The days to drop. `sizes` has the bytes of each day. Pure.

    These are days in the future, days older than `keep_days` before the newest, and then the oldest days while the rest takes
    more than `max_bytes`. The newest day always stays.
    """
    real = sorted(day for day in sizes if day <= str(today + timedelta(days=1)))
    dropped = [day for day in sizes if day not in real]
    if not real:
        return dropped
    first = str(date.fromisoformat(real[-1]) - timedelta(days=keep_days - 1))
    dropped += [day for day in real if day < first]
    kept = [day for day in real if day >= first]
    while len(kept) > 1 and sum(sizes[day] for day in kept) > max_bytes:
        dropped.append(kept.pop(0))
    return dropped


def drop_expired(store: ParquetStore, today: date, keep_days: int, max_bytes: float) -> list[str]:
    """Drop the days that `expired_days` names, and return them."""
    sizes = {day: store.bytes_of(day) for day in {*store.days("answers"), *store.days("watches")}}
    dropped = expired_days(sizes, today, keep_days, max_bytes)
    for day in dropped:
        store.drop(day)
    return dropped


def _compact(store: ParquetStore, kind: Kind, day: str) -> None:
    folder = store.folder / kind / day
    new, old = folder.with_name(f".{day}.new"), folder.with_name(f".{day}.old")
    new.mkdir()
    with Database(store.folder / SCRATCH) as database:
        compacted = COMPACTED[kind].format(rows=store.relation(kind, [day]))
        database.copy(f"{compacted} ORDER BY {ORDER[kind]}", new / WHOLE)
    sync_folder(new)
    folder.rename(old)
    new.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old)
