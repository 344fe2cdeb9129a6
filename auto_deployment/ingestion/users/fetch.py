"""The retraining run asks the film service about recent users, within the run's limits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from auto_deployment.common.json_file import StateError
from auto_deployment.ingestion.users import api

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auto_deployment.common.settings import Settings

log = logging.getLogger(__name__)

RUN_LIMITS = api.FetchLimits(users=20_000, seconds=120.0)
# Most recent users are known already. So a run reads this many times as many users as it may ask about.
RECENT_USERS = 50 * RUN_LIMITS.users


def fetch_recent_users(settings: Settings, may_continue: Callable[[], bool]) -> list[str]:
    """Ask about recent users, keep the answers, and return lines for the log. No lines without `USER_API_URL`.

    An API that does not answer or a damaged table gives a warning, and fails nothing.
    """
    if settings.user_api_url is None:
        return []
    try:
        users = recent_users(settings.data_dir, RECENT_USERS)
        result = api.fetch(settings.data_dir, settings.user_api_url, users, RUN_LIMITS, may_continue)
    except (StateError, OSError, ValueError) as error:
        log.warning("no user is asked about: %s", error)
        return [f"who the users are could not be asked: {error}"]
    lines = [f"{result.answered:,} users asked about, of whom the film service knows {result.known:,}"]
    if result.failed:
        log.warning("USER_API_URL: %s: the next run asks again", result.problem)
        problem = "is away" if result.is_away else f"did not answer about {result.failed:,}"
        lines.append(f"the film service's API {problem} ({result.problem}): the next run asks again")
    return lines


def recent_users(data: Path, limit: int) -> list[int]:
    """At most `limit` users from the visitors' files of a data folder, each once, the most recent first."""
    found: dict[int, None] = {}
    for path in sorted((data / "visitors").glob("recent*.jsonl"), key=_since, reverse=True):
        for line in reversed(path.read_text(encoding="ascii").splitlines()):
            found.setdefault(int(line))
            if len(found) >= limit:
                return list(found)
    return list(found)


def _since(path: Path) -> int:
    return int(path.stem.rpartition("_")[2]) if "_" in path.stem else 0
