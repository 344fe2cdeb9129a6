"""The film service's API: who a user is. Asked politely, for so long and for so many, and never so that a run depends on it."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from auto_deployment.ingestion.users import table
from auto_deployment.ingestion.users.table import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

AT_ONCE = 4
MOST_IN_ONE = 200  # users in one request, in the form that the film service has since 2026
ANSWER_SECONDS = 5.0
# After each try, where the service does not say for how long; after the last one other users are asked about.
PAUSES = (1.0, 2.0, 0.0)
LONGEST_PAUSE = 5.0
OLDEST, LONGEST_WORD = 130, 64
UNKNOWN = "user not found"  # the message that comes with a 404 about a user; one about the path, or a proxy's, has another


class AwayError(Exception):
    """The API does not answer about a user, or not as it should."""


class Asked(NamedTuple):
    """The result of a run: users with an answer, users that the service knows, and users without a valid answer.

    `problem` is the first thing that was wrong; `away` says that it was wrong with a whole batch, which ended the asking.
    """

    people: int
    known: int
    failed: int = 0
    problem: str = ""
    away: bool = False


class Limits(NamedTuple):
    """A run asks about so many users, for so long."""

    users: int
    seconds: float


def collect(data: Path, url: str, wanted: Sequence[int], limits: Limits, go_on: Callable[[], bool]) -> Asked:
    """Ask about the users of `wanted` who are not in the table of `data` yet, in this order, and put them there.

    Ends at the limits, when `go_on` says no, or when no user of a batch gets an answer. Answers so far are kept, and the next
    run asks again about users without one. Never raises for it.
    """
    people = table.read(data)
    found: dict[int, Person] = {}
    failures: list[AwayError] = []
    until, away = time.monotonic() + limits.seconds, False
    todo = list(islice((user for user in dict.fromkeys(wanted) if user not in people), limits.users))
    with requests.Session() as session, ThreadPoolExecutor(AT_ONCE) as pool:
        found |= _in_groups(session, url, todo, until, go_on)
        singles = (user for user in todo if user not in found)
        while not away and (users := list(islice(singles, 8 * AT_ONCE))):
            answers = list(pool.map(lambda user: _answer(session, url, user, until), users))
            found |= {user: each for user, each in zip(users, answers, strict=True) if isinstance(each, Person)}
            failures += [each for each in answers if isinstance(each, AwayError)]
            away = all(isinstance(each, AwayError) for each in answers)
            if None in answers or time.monotonic() > until or not go_on():
                break
    if found:
        table.write(data, {**people, **found})
    problem = str(failures[0]) if failures else ""
    return Asked(len(found), sum(each != Person() for each in found.values()), len(failures), problem, away)


def _in_groups(
    session: requests.Session, url: str, users: Sequence[int], until: float, go_on: Callable[[], bool]
) -> dict[int, Person]:
    """The people whom the service describes in answers about many users; it does not have to know that form."""
    found: dict[int, Person] = {}
    for start in range(0, len(users) - 1, MOST_IN_ONE):
        group = several(session, url, users[start : start + MOST_IN_ONE], until)
        if not group or time.monotonic() > until:
            return found | group
        found |= group
        if not go_on():
            break
    return found


def several(session: requests.Session, url: str, users: Sequence[int], until: float) -> dict[int, Person]:
    """What `/user/<id>,<id>,...` says, by user: a list of documents with `user_id`, or an object of documents by id.

    Empty when the service does not answer in this form. Users whom the answer leaves out are missing.
    """
    wanted = set(users)
    for pause in PAUSES:
        try:
            answer = session.get(f"{url.rstrip('/')}/user/{','.join(map(str, users))}", timeout=ANSWER_SECONDS)
            if answer.status_code != requests.codes.too_many_requests:
                documents = _documents(answer.json()) if answer.ok else {}
                return {user: person_of(each) for user, each in documents.items() if user in wanted}
        except (requests.RequestException, ValueError):
            return {}
        wait = _number(answer.headers.get("Retry-After"), pause)
        if not 0 <= wait <= LONGEST_PAUSE or time.monotonic() + wait > until:
            return {}
        time.sleep(wait)
    return {}


def _documents(told: object) -> dict[int, dict[str, Any]]:
    """Documents of users by id. Raises ValueError for an id that is none."""
    pairs = told.items() if isinstance(told, dict) else [(None, each) for each in told] if isinstance(told, list) else []
    found = [(key, each) for key, each in pairs if isinstance(each, dict) and "message" not in each]
    return {int(str(each.get("user_id", key))): each for key, each in found}


def _answer(session: requests.Session, url: str, user: int, until: float) -> Person | AwayError | None:
    try:
        return person(session, url, user, until)
    except AwayError as error:
        return error


def person(session: requests.Session, url: str, user: int, until: float) -> Person | None:
    """What `/user/<id>` says; nothing of a user whom the service does not know. None where the time is up before it is had.

    Raises AwayError if the service gives no answer.
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
            told = _number(answer.headers.get("Retry-After"), pause)
            wait = told if told >= 0 else pause
        except (requests.RequestException, ValueError) as error:
            problem = type(error).__name__
        if wait > LONGEST_PAUSE:
            break
        if time.monotonic() + wait > until:
            return None
        time.sleep(wait)
    raise AwayError(f"/user/{user}: {problem}")


def _is_unknown(answer: requests.Response) -> bool:
    if answer.status_code != requests.codes.not_found:
        return False
    try:
        told = answer.json()
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("message") == UNKNOWN


def person_of(told: object) -> Person:
    """What a document says. Raises ValueError where it is none; a field that cannot be right is left out."""
    if not isinstance(told, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what came is wrong, not its type in our code
    gender, job = (_word(told.get(name)) for name in ("gender", "occupation"))
    return Person(_age(told.get("age")), gender, job)


def _age(told: Any) -> int | None:  # noqa: ANN401 - whatever JSON can hold
    number = _number(told, -1.0)
    return int(number) if 0 < number <= OLDEST else None


def _number(told: Any, otherwise: float) -> float:  # noqa: ANN401 - whatever JSON can hold
    try:
        return float(told)
    except (TypeError, ValueError, OverflowError):
        return otherwise


def _word(told: object) -> str:
    return told if isinstance(told, str) and len(told) <= LONGEST_WORD and told.isprintable() else ""
