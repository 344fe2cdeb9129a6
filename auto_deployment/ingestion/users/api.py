"""The client of the film service's user API. It limits its requests, and no run depends on its answers."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from auto_deployment.ingestion.users import demographics
from auto_deployment.ingestion.users.demographics import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

THREADS = 4
GROUP_USERS = 200  # users in one request, in the form that the film service has since 2026
ANSWER_SECONDS = 5.0
# Seconds after each try, unless the service gives another time. After the last try the next users follow.
PAUSES = (1.0, 2.0, 0.0)
LONGEST_PAUSE = 5.0
OLDEST, LONGEST_WORD = 130, 64
UNKNOWN = "user not found"  # the message of a 404 about a user; a wrong path or a proxy has another message


class ApiError(Exception):
    """The API gives no valid answer about a user."""


class FetchResult(NamedTuple):
    """The number of users with an answer, of users that the service knows, and of users without a valid answer.

    `problem` is the first error. `is_away` means that no user of a batch got an answer, and that the run stopped asking.
    """

    answered: int
    known: int
    failed: int = 0
    problem: str = ""
    is_away: bool = False


class FetchLimits(NamedTuple):
    """The most users that a run asks about, and the most seconds."""

    users: int
    seconds: float


def fetch(data: Path, url: str, users: Sequence[int], limits: FetchLimits, may_continue: Callable[[], bool]) -> FetchResult:
    """Ask about the `users` who are not in the table of the folder `data` yet, in this order, and add them to the table.

    Ends at the limits, when `may_continue` returns False, or when no user of a batch gets an answer. The answers so far are
    kept. The next run asks again about users without one. Raises StateError or OSError for the table, nothing for the API.
    """
    people = demographics.read(data)
    found: dict[int, Person] = {}
    failures: list[ApiError] = []
    until, away = time.monotonic() + limits.seconds, False
    todo = list(islice((user for user in dict.fromkeys(users) if user not in people), limits.users))
    with requests.Session() as session, ThreadPoolExecutor(THREADS) as pool:
        found |= _ask_groups(session, url, todo, until, may_continue)
        singles = (user for user in todo if user not in found)
        while not away and (batch := list(islice(singles, 8 * THREADS))):
            answers = list(pool.map(lambda user: _ask_one(session, url, user, until), batch))
            found |= {user: each for user, each in zip(batch, answers, strict=True) if isinstance(each, Person)}
            failures += [each for each in answers if isinstance(each, ApiError)]
            away = all(isinstance(each, ApiError) for each in answers)
            if None in answers or time.monotonic() > until or not may_continue():
                break
    if found:
        demographics.write(data, {**people, **found})
    problem = str(failures[0]) if failures else ""
    known = sum(each != Person() for each in found.values())
    return FetchResult(answered=len(found), known=known, failed=len(failures), problem=problem, is_away=away)


def _ask_groups(
    session: requests.Session, url: str, users: Sequence[int], until: float, may_continue: Callable[[], bool]
) -> dict[int, Person]:
    """The answers to requests about many users. Empty if the service does not know this form."""
    found: dict[int, Person] = {}
    for start in range(0, len(users) - 1, GROUP_USERS):
        group = ask_group(session, url, users[start : start + GROUP_USERS], until)
        if not group or time.monotonic() > until:
            return found | group
        found |= group
        if not may_continue():
            break
    return found


def ask_group(session: requests.Session, url: str, users: Sequence[int], until: float) -> dict[int, Person]:
    """The answer of `/user/<id>,<id>,...`, by user.

    The service may send a list of documents with `user_id`, or an object of documents by id. Empty if the service does not
    answer in this form. Users without a document are missing.
    """
    for pause in PAUSES:
        try:
            answer = session.get(f"{url.rstrip('/')}/user/{','.join(map(str, users))}", timeout=ANSWER_SECONDS)
            if answer.status_code != requests.codes.too_many_requests:
                documents = _documents(answer.json()) if answer.ok else {}
                return {user: person_of(each) for user, each in documents.items() if user in users}
        except (requests.RequestException, ValueError):
            return {}
        wait = _number(answer.headers.get("Retry-After"), pause)
        if not 0 <= wait <= LONGEST_PAUSE or time.monotonic() + wait > until:
            return {}
        time.sleep(wait)
    return {}


def _documents(answer: object) -> dict[int, dict[str, Any]]:
    """The documents of users by id. Raises ValueError for a wrong id."""
    pairs = (
        answer.items() if isinstance(answer, dict) else [(None, each) for each in answer] if isinstance(answer, list) else []
    )
    found = [(key, each) for key, each in pairs if isinstance(each, dict) and "message" not in each]
    return {int(str(each.get("user_id", key))): each for key, each in found}


def _ask_one(session: requests.Session, url: str, user: int, until: float) -> Person | ApiError | None:
    try:
        return ask(session, url, user, until)
    except ApiError as error:
        return error


def ask(session: requests.Session, url: str, user: int, until: float) -> Person | None:
    """The answer of `/user/<id>`, an empty `Person` for a user whom the service does not know. None if the time is over.

    Raises ApiError if the service gives no answer.
    """
    problem = ""
    for pause in PAUSES:
        wait = pause
        try:
            answer = session.get(f"{url.rstrip('/')}/user/{user}", timeout=ANSWER_SECONDS)
            if _is_unknown(answer):
                return Person()
            if answer.ok:
                return person_of(answer.json())
            problem = f"status {answer.status_code}"
            retry_after = _number(answer.headers.get("Retry-After"), pause)
            wait = retry_after if retry_after >= 0 else pause
        except (requests.RequestException, ValueError) as error:
            problem = type(error).__name__
        if wait > LONGEST_PAUSE:
            break
        if time.monotonic() + wait > until:
            return None
        time.sleep(wait)
    raise ApiError(f"/user/{user}: {problem}")


def _is_unknown(answer: requests.Response) -> bool:
    if answer.status_code != requests.codes.not_found:
        return False
    try:
        document = answer.json()
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("message") == UNKNOWN


def person_of(document: object) -> Person:
    """The user of a document. A field that cannot be right stays empty. Raises ValueError for anything but an object."""
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the answer is wrong, not a type in our code
    gender, job = (_word(document.get(name)) for name in ("gender", "occupation"))
    return Person(_age(document.get("age")), gender, job)


def _age(value: Any) -> int | None:  # noqa: ANN401 - any JSON value
    number = _number(value, -1.0)
    return int(number) if 0 < number <= OLDEST else None


def _number(value: Any, default: float) -> float:  # noqa: ANN401 - any JSON value
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _word(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST_WORD and value.isprintable() else ""
