"""Answers and versions as lines for a person and as plain values for a program. Pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from auto_deployment.common.output import align_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.provenance.archive import Served, Traced

# The five columns of the join of `reccom` and `tracking`, then what else is known of an answer.
COLUMNS = (
    "version_number",
    "user_id",
    "data_creation",
    "trained_on",
    "model_rmse",
    "served_at",
    "track",
    "step",
    "answer_id",
    "request_id",
)


def plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """A value as JSON has it; times, which the tables hold in UTC, in ISO 8601 with `Z`."""
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='microseconds' if value.microsecond else 'seconds')}Z"
    return value.isoformat() if isinstance(value, date) else value


def as_dict(row: Traced | Served) -> dict[str, Any]:
    """A row by its names."""
    return {name: plain(value) for name, value in row._asdict().items()}


def answers(rows: Sequence[Traced]) -> list[str]:
    """A line a row under a header, in columns."""
    return align_columns([COLUMNS, *([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)])


def version(number: int, row: Mapping[str, Any] | None, served: Sequence[Served] | str, commit: str | None) -> list[str]:
    """What is known of a version; `served` is a text where it could not be counted."""
    lines = [f"version {number}"]
    lines += [f"  {name:<14} {_cell(value)}" for name, value in (row or {}).items() if name != "version_number"]
    if row is None:
        lines.append("  no tracking row: the pipeline has not put it yet, or the database is another one")
    lines.append(f"  {'commit':<14} {commit or '- (git has no tag of it here)'}")
    if isinstance(served, str):
        return [*lines, f"  {'served':<14} {served}"]
    told = [f"{each.answers:,} by {each.track}, {_cell(each.first)} to {_cell(each.last)}" for each in served]
    return [*lines, *(f"  {'served':<14} {text}" for text in told or ["nothing that is kept"])]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value in (None, "") else str(plain(value))
