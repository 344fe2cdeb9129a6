"""Events for the tests of telemetry: answers, their rows in provenance, and begun films."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from app.events import Recommendation
from app.journal import Row
from app.provenance import Ledger
from app.routes import digest_of, new_id
from auto_deployment.common.database import Database
from auto_deployment.common.json_file import write_json_synced
from auto_deployment.ingestion.rows import BlockRows, Counts
from auto_deployment.online_evaluation.metrics import OnlineMetrics, compute_metrics
from auto_deployment.online_evaluation.parquet_store import Kind, ParquetStore
from auto_deployment.online_evaluation.popular import Popular

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NOON = datetime(2026, 1, 5, 12)  # noqa: DTZ001 - the stream has no zone
LATER = timedelta(milliseconds=40)
SOURCE = "movielog4/0"


def empty_rows() -> BlockRows:
    """The rows of an empty block."""
    return BlockRows([], [], [], [], Counts())


def stream_time(time: datetime) -> str:
    """A time as the stream writes it."""
    return time.isoformat(timespec="microseconds" if time.microsecond else "seconds")


class Scene:
    """Events of the stream. `collect` collects them in one block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ParquetStore(folder / "telemetry")
        self.url = f"sqlite:///{folder / 'provenance.sqlite'}"
        self.popular = Popular(folder / "telemetry" / "popular")
        self.rows = empty_rows()
        self.served: list[Row] = []
        self.offset = 0

    def answer(
        self, user: int, time: datetime, films: Sequence[str], version: int = 6, track: str = "stable", *, served: bool = True
    ) -> None:
        """The stream has an answer at `time`, which was served a moment before."""
        self.rows.answers.append(Recommendation(stream_time(time), user, "s:8082", 200, tuple(films), "", 40))
        if served:
            at = int((time - LATER).replace(tzinfo=UTC).timestamp() * 1e6)
            self.served.append(Row(new_id(), new_id(), user, version, track, at, "known", digest_of(",".join(films))))

    def fail(self, user: int, time: datetime) -> None:
        """A request that had no answer."""
        self.rows.answers.append(Recommendation(stream_time(time), user, "s:8082", 0, (), "time-out", 800))

    def begin(self, user: int, film: str, time: datetime, minutes: int = 30) -> None:
        """Somebody begins a film."""
        self.rows.watches.append(
            f"{user},{film},{minutes},{stream_time(time)},{stream_time(time + timedelta(minutes=minutes))}"
        )

    def list_popular(self, version: int, films: Sequence[str], seen: Mapping[int, int] | None = None) -> None:
        """A version's popular list, and the places in it that users had seen, as bits."""
        write_json_synced(self.folder / "telemetry" / "popular" / f"{version}.json", {"films": list(films)})
        with Database(self.folder / "scratch") as database:
            database.load(
                "seen", "{'user_id': 'BIGINT', 'places': 'UBIGINT'}", [f"{user}\t{bits}" for user, bits in (seen or {}).items()]
            )
            database.copy("FROM seen", self.folder / "telemetry" / "popular" / f"{version}.parquet")

    def collect(self) -> None:
        """Collect the events so far in one block, and ship the served answers."""
        self.offset += 1000
        self.store.keep(SOURCE, {"offset": self.offset}, self.rows)
        ledger = Ledger(self.url)
        ledger.create()
        for start in range(0, len(self.served), 2000):
            ledger.add_answers("journal", self.served[start : start + 2000], 0)
        ledger.close()
        self.rows, self.served = empty_rows(), []

    def metrics(self, days: int = 30, now: datetime = NOON + timedelta(days=20)) -> OnlineMetrics:
        """The metrics of the events so far."""
        return compute_metrics(self.store, self.popular, self.url, days, now)

    def all(self, kind: Kind) -> list[tuple[object, ...]]:
        """Everything that is kept of a kind, in a fixed order."""
        with Database(self.folder / "scratch") as database:
            return sorted(database.rows(f"FROM {self.store.relation(kind, self.store.days(kind))}"), key=repr)
