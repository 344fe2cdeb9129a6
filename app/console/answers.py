"""What the database knows of answers: those to a user, and one by its id."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from app.console.problems import ProblemError
from app.provenance import DatabaseError, SecretError
from app.provenance.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.provenance.archive import Given, Traced

T = TypeVar("T")
# A connect, and each answer of the database.
SECONDS = 2
MOST_ANSWERS = 100
LATEST = 1000


class Answers:
    """The database, opened at the first question. Every method raises ProblemError where it gives nothing."""

    def __init__(self, url: Callable[[], str | None]) -> None:
        """`url` returns the database's URL; None without a database. It may raise SecretError."""
        self._url = url
        self._archive: Archive | None = None

    def warm_up(self) -> None:
        """Open the database, so that the first page need not wait for that. One that is away is left to the pages."""
        with suppress(ProblemError):
            self.last_users(1)

    def to_user(self, user: int) -> list[Traced]:
        """The newest answers to a user, newest first, at most `MOST_ANSWERS`."""
        return self._ask(lambda archive: archive.find("user_id", user, MOST_ANSWERS)[::-1])

    def one(self, answer: str) -> Traced | None:
        """The answer with this id, or one to the request with this id; None where there is none."""

        def read(archive: Archive) -> Traced | None:
            found = archive.find("answer_id", answer, 1) or archive.find("request_id", answer, 1)
            return found[0] if found else None

        return self._ask(read)

    def last_users(self, most: int) -> list[int]:
        """The users of the last answers, newest first, each once."""
        return self._ask(lambda archive: list(dict.fromkeys(archive.last_users(most))))

    def latest(self) -> list[Given]:
        """The last answers to anybody, newest first, at most `LATEST`."""
        return self._ask(lambda archive: archive.latest(LATEST))

    def _ask(self, question: Callable[[Archive], T]) -> T:
        try:
            if self._archive is None:
                url = self._url()
                if url is None:
                    raise ProblemError("there is no database, so no answer is recorded", "set MYSQL_USER for the console")
                self._archive = Archive(url, SECONDS)
            return question(self._archive)
        except SecretError as error:
            raise ProblemError(str(error), "docker compose up -d --wait") from error
        except DatabaseError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise ProblemError(f"the database does not answer ({reason})", "docker compose ps mysql") from error
