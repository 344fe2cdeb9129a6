"""The tables for queries. SQLite's tables are created from here, MySQL's from `schema`, with partitions and smaller types."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Required, TypedDict, cast

import sqlalchemy as sa

from app.journal import Row, ServedList
from app.model import md5_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # the tables hold UTC without a zone
tables = sa.MetaData()

reccom = sa.Table(
    "reccom",
    tables,
    sa.Column("answer_id", sa.String(32), primary_key=True),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False, index=True),
    sa.Column("user_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("version_number", sa.Integer, nullable=False),
    sa.Column("track", sa.String(8), nullable=False),
    sa.Column("served_at", sa.DateTime, nullable=False),
    sa.Column("step", sa.String(16), nullable=False),
    sa.Column("digest", sa.String(16), nullable=False),
    sa.Column("inputs", sa.String(64), nullable=False),
)
# What the served lists of step `fresh` were computed from. `list_id` is in `reccom.inputs`.
served_lists = sa.Table(
    "served_lists",
    tables,
    sa.Column("list_id", sa.String(16), primary_key=True),
    sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("served_at", sa.DateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
)
tracking = sa.Table(
    "tracking",
    tables,
    sa.Column("version_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data_creation", sa.TIMESTAMP),
    sa.Column("trained_on", sa.TIMESTAMP),
    sa.Column("model_rmse", sa.Float),
    sa.Column("git_commit", sa.String(40)),
    sa.Column("data_md5", sa.String(32)),
    sa.Column("model_md5", sa.String(32)),
)
# How many bytes of each journal are in the database. One transaction inserts rows and moves the mark.
journal_marks = sa.Table(
    "journal_marks",
    tables,
    sa.Column("journal", sa.String(255), primary_key=True),
    sa.Column("bytes_taken", sa.BigInteger, nullable=False),
)


class TrackingRow(TypedDict, total=False):
    """A row of `tracking`. The tables and queries have times in UTC without a zone."""

    version_number: Required[int]
    data_creation: datetime | None
    trained_on: datetime | None
    model_rmse: float | None
    git_commit: str | None
    data_md5: str | None
    model_md5: str | None


def columns(row: Row | ServedList) -> dict[str, Any]:
    """A row of a journal by the columns of its table. `day` is the day of `served_at` in UTC."""
    served_at = _EPOCH + timedelta(microseconds=row.served_at)
    return {**row._asdict(), "served_at": served_at, "day": served_at.date()}


def tracking_row(metadata: Mapping[str, Any], model_dir: Path) -> dict[str, Any]:
    """The `tracking` row of a version as JSON, with times in ISO 8601.

    `model_md5` is the MD5 of the metadata, which has the checksum of every array.
    """
    return {
        "version_number": metadata["version"],
        "data_creation": metadata["data_creation"],
        "trained_on": metadata["trained_on"],
        "model_rmse": metadata["rmse"],
        "git_commit": metadata["git_commit"],
        "data_md5": metadata["data_md5"],
        "model_md5": md5_of(model_dir / "metadata.json"),
    }


def with_times(row: Mapping[str, Any]) -> TrackingRow:
    """A `tracking` row from JSON, with its times as the tables hold them: in UTC without a zone."""
    texts = {name: row[name] for name in ("data_creation", "trained_on") if row[name] is not None}
    times = {name: datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None) for name, text in texts.items()}
    return tracking_row_of({**row, **times})


def tracking_row_of(columns: Mapping[str, Any] | sa.RowMapping) -> TrackingRow:
    """A row of `tracking` by its columns."""
    return cast("TrackingRow", dict(columns))


def row_of(columns: Mapping[str, Any]) -> Row:
    """The journal's row from the columns of `reccom`."""
    return Row(**_fields(columns))


def list_of(columns: Mapping[str, Any]) -> ServedList:
    """The journal's served list from the columns of `served_lists`."""
    return ServedList(**_fields(columns))


def _fields(columns: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in columns.items() if name != "day"}
    return {**fields, "served_at": (columns["served_at"] - _EPOCH) // timedelta(microseconds=1)}
