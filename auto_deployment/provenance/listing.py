"""Answers and versions as lines of text, and as JSON values. Pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from auto_deployment.common.output import align_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.provenance.archive import Served, Traced

# The five columns of the join of `reccom` and `tracking`, then the other columns of an answer.
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


def json_value(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """A value for JSON. Times of the tables are in UTC, and become ISO 8601 with `Z`."""
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='microseconds' if value.microsecond else 'seconds')}Z"
    return value.isoformat() if isinstance(value, date) else value


def as_dict(row: Traced | Served) -> dict[str, Any]:
    """A row as an object for JSON."""
    return {name: json_value(value) for name, value in row._asdict().items()}


def answer_lines(rows: Sequence[Traced]) -> list[str]:
    """A header, and a line in columns for each answer."""
    return align_columns([COLUMNS, *([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)])


def version_lines(number: int, row: Mapping[str, Any] | None, served: Sequence[Served] | str, commit: str | None) -> list[str]:
    """The lines of a version. `served` is the reason if the answers could not be counted."""
    lines = [f"version {number}"]
    lines += [f"  {name:<14} {_cell(value)}" for name, value in (row or {}).items() if name != "version_number"]
    if row is None:
        lines.append("  no tracking row: the pipeline has not written it yet, or this is another database")
    lines.append(f"  {'commit':<14} {commit or '- (git has no tag of it here)'}")
    if isinstance(served, str):
        return [*lines, f"  {'served':<14} {served}"]
    counts = [f"{each.answers:,} by {each.track}, {_cell(each.first)} to {_cell(each.last)}" for each in served]
    return [*lines, *(f"  {'served':<14} {text}" for text in counts or ["nothing that is kept"])]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value in (None, "") else str(json_value(value))
