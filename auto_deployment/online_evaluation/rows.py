"""What the telemetry keeps of a block, as lines with tabs. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auto_deployment.ingestion.events import Recommendation
    from auto_deployment.ingestion.rows import Rows

LONGEST_ERROR = 200
MICROSECONDS = len("2026-01-01T00:00:00.123456")  # what a TIMESTAMP holds


def digest_of(films: Iterable[str]) -> int:
    """What provenance keeps of an answer's list, as a number: 64 bits of BLAKE2b of the ids, joined by commas."""
    return int.from_bytes(hashlib.blake2b(",".join(films).encode(), digest_size=8).digest(), "big")


def answer_lines(rows: Rows) -> list[str]:
    """A line for each recommendation, in the order of the stream."""
    return [_answer_line(answer) for answer in rows.answers]


def watch_lines(rows: Rows) -> list[str]:
    """A line for each row of watches: user, film, minutes and when the first of them was."""
    return [
        "\t".join((*watch.split(",", 3)[:3], begun[:MICROSECONDS]))
        for watch, begun in zip(rows.watches, rows.begun, strict=True)
    ]


def _answer_line(answer: Recommendation) -> str:
    digest = digest_of(answer.films) if answer.films else ""
    told = (answer.time[:MICROSECONDS], answer.user, _plain(answer.server), answer.status, answer.milliseconds)
    return "\t".join(map(str, (*told, ",".join(answer.films), digest, _plain(answer.error))))


def _plain(text: str) -> str:
    """A text from the stream without what would end a field or a line."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:LONGEST_ERROR])
