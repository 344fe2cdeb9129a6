"""A run's own errand: ask the film service about the users who came lately, as far as time allows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from auto_deployment.common.json_file import StateError
from auto_deployment.ingestion.users import api, visitors

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.common.settings import Settings

log = logging.getLogger(__name__)

# Of one run.
USERS_AT_MOST = 20_000
SECONDS_AT_MOST = 120.0
# A run takes the users to ask about from this many times as many recent users, because most of them are known already.
LOOKED_AT = 50


def ask_lately_seen(settings: Settings, go_on: Callable[[], bool]) -> list[str]:
    """Ask, keep the answers, and return lines for the log.

    An API that is away or a damaged table gives a warning and fails nothing.
    """
    if settings.user_api_url is None:
        return []
    try:
        lately = visitors.read(settings.data_dir, LOOKED_AT * USERS_AT_MOST)
        limits = api.Limits(USERS_AT_MOST, SECONDS_AT_MOST)
        asked = api.collect(settings.data_dir, settings.user_api_url, lately, limits, go_on)
    except (StateError, OSError, ValueError) as error:
        log.warning("nobody is asked about users: %s", error)
        return [f"who the users are could not be asked: {error}"]
    lines = [f"{asked.people:,} users asked about, of whom the film service knows {asked.known:,}"]
    if asked.failed:
        log.warning("USER_API_URL: %s: the next run asks again", asked.problem)
        what = "is away" if asked.away else f"did not answer about {asked.failed:,}"
        lines.append(f"the film service's API {what} ({asked.problem}): the next run asks again")
    return lines
