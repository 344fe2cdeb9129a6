"""Run as a module with FOLDER and DAYS: telemetry judges so many days, and the most memory is printed in MiB."""

from __future__ import annotations

import resource
import sys
from datetime import timedelta
from pathlib import Path

from auto_deployment.common.database import Database
from auto_deployment.online_evaluation.parquet_store import KINDS, Kind
from auto_deployment.online_evaluation.retention import compact
from tests.unit.auto_deployment.online_evaluation.viewers import NOON, Scene

ANSWERS, BLOCKS, USERS = 7_000, 2, 5_000
MADE: dict[Kind, str] = {
    "answers": (
        "SELECT TIMESTAMP '{day}' + to_seconds(n) AS time, (hash(n, {block}) % {users})::BIGINT AS user_id, "
        "'s:8082' AS server, 200::USMALLINT AS status, 40::UINTEGER AS milliseconds, "
        "[format('film+{{}}+1999', (hash(user_id, place) % 1000)::INTEGER) FOR place IN range(20)] AS films, "
        "hash(user_id) AS digest, NULL::VARCHAR AS error FROM range({count}) made(n)"
    ),
    "watches": (
        "SELECT (hash(n, {block}) % {users})::BIGINT AS user_id, format('film+{{}}+1999', n % 1000) AS film, "
        "TIMESTAMP '{day}' + to_seconds(n + 300) AS begun, 30::UINTEGER AS minutes FROM range({count}) made(n)"
    ),
}


def make(scene: Scene, day: str, block: int) -> None:
    """A block of a day, as a collection would have kept it."""
    with Database(scene.folder / "scratch") as database:
        for kind in KINDS:
            path = scene.store.folder / kind / day / f"made~{block}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            database.copy(MADE[kind].format(day=day, block=block, users=USERS, count=ANSWERS), path)


def main(folder: Path, days: int) -> float:
    """Make and pack day after day, and judge all of them."""
    scene = Scene(folder)
    for number in range(days + 2):
        day = f"{NOON + timedelta(days=number):%Y-%m-%d}"
        for block in range(BLOCKS):
            make(scene, day, block)
        compact(scene.store, day)
    scene.collect()
    found = scene.metrics(days + 2, NOON + timedelta(days=days + 1))
    assert found.judged > days * BLOCKS * ANSWERS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), int(sys.argv[2]))}\n")
