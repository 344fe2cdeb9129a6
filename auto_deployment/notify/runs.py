"""The notices of a retraining run's end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.notify.notice import Notice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def published(version: int, rmse: float, rows: int, details: Sequence[str] = (), *, pushed: bool = True) -> Notice:
    """A version is in git and DVC, trained on `rows` ratings; not `pushed`: in this checkout alone, for now."""
    figures = _figures({"version": version, "RMSE": rmse, "ratings": rows})
    if pushed:
        subject, after = f"movierec: version {version} published, RMSE {rmse:.3f}", published_text(version)
    else:
        subject = f"movierec: version {version} made, not published, RMSE {rmse:.3f}"
        after = [f"Version {version} was not pushed (--no-push). The next run without this option publishes it."]
    return Notice(subject, _text(figures, details, after))


def published_text(version: int) -> list[str]:
    """What follows after a push to git."""
    return [
        f"Version {version} is published: the push to git succeeded. No service runs version {version} yet.",
        "Its release begins with GitLab's pipeline. A mail 'deployed successfully' follows after the promotion.",
    ]


def refused(reasons: Sequence[str], figures: Mapping[str, float | str], limit: float | str) -> Notice:
    """The data check or the gate refused these metrics, by name; `limit` is the limit that they failed."""
    after = ["Nothing was published: the version in service stays.", "The new rows are kept for the next run."]
    text = _text(_figures({**figures, "limit": limit}), [f"- {reason}" for reason in reasons], after)
    return Notice(f"movierec: refused: {'; '.join(reasons)}", text)


def failed(step: str, reason: str, what_to_do: str) -> Notice:
    """A run ended at `step` without finishing."""
    return Notice(f"movierec: failed at {step}: {reason}", _text([f"step: {step}", f"reason: {reason}"], [what_to_do]))


def nothing_new(late: int | None = None) -> Notice:
    """A run found no new row since the last version; `late`: an earlier version that this run published."""
    after = ["The stream brought no new ratings or watches since the last version."]
    if late is None:
        return Notice("movierec: nothing new, no version made", _text(["0 new rows"], after))
    return Notice(f"movierec: nothing new, version {late} published", _text(["0 new rows"], after, published_text(late)))


def lag_alarm(now: int, before: int) -> Notice:
    """The lag, in messages, has grown from one collection to the next."""
    figures = _figures({"lag now": now, "lag before": before, "grown by": now - before})
    what_to_do = [
        "Collections fall behind the stream. Kafka may delete lines before a run reads them.",
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
