"""What people are told of a retraining run's end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.notify.notice import Notice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def released(version: int, rmse: float, rows: int, details: Sequence[str] = ()) -> Notice:
    """A version was released to git; `rows` ratings trained it."""
    figures = _figures({"version": version, "RMSE": rmse, "ratings": rows})
    return Notice(f"movierec: version {version} released, RMSE {rmse:.3f}", _text(figures, details))


def refused(reasons: Sequence[str], figures: Mapping[str, float | str], limit: float | str) -> Notice:
    """The data check or the gate said no to these figures, by name; `limit` is what they were held against."""
    after = ["Nothing was released: the version in service stays.", "The new rows are kept for the next run."]
    text = _text(_figures({**figures, "limit": limit}), [f"- {reason}" for reason in reasons], after)
    return Notice(f"movierec: refused: {'; '.join(reasons)}", text)


def failed(step: str, reason: str, what_to_do: str) -> Notice:
    """A run ended at `step`, unfinished."""
    return Notice(f"movierec: failed at {step}: {reason}", _text([f"step: {step}", f"reason: {reason}"], [what_to_do]))


def nothing_new() -> Notice:
    """A run found nothing to train on that the last version did not have."""
    after = "The stream brought no new ratings or watches since the last version, which stays in service."
    return Notice("movierec: nothing new, no version made", _text(["0 new rows"], [after]))


def lag_alarm(now: int, before: int) -> Notice:
    """The lag, in messages, has grown over two runs."""
    figures = _figures({"lag now": now, "lag before": before, "grown by": now - before})
    what_to_do = [
        "Collection falls behind the stream, and retention may remove lines unread.",
        "Raise COLLECT_MINUTES, or lower COLLECT_EVERY_HOURS.",
    ]
    return Notice(f"movierec: lag grows: {now:,} messages", _text(figures, what_to_do))


def _figures(figures: Mapping[str, float | str]) -> list[str]:
    width = max(map(len, figures)) + 2
    return [f"{name:<{width}}{_number(value)}" for name, value in figures.items()]


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _text(*parts: Sequence[str]) -> str:
    """Parts of lines with an empty line between them."""
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"
