from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from auto_deployment.common.json_file import StateError
from auto_deployment.common.settings import Settings
from auto_deployment.ingestion.users import demographics
from auto_deployment.ingestion.users.api import PAUSES, FetchLimits, FetchResult, fetch, person_of
from auto_deployment.ingestion.users.demographics import Person
from auto_deployment.ingestion.users.fetch import fetch_recent_users, recent_users
from tests.http_server import running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MANY = FetchLimits(1000, 20.0)


def document_of(user: int) -> dict[str, object]:
    """What the service knows of a user."""
    return {"user_id": user, "age": 20 + user % 50, "gender": "F", "occupation": "artist, K-12"}


class Service(ThreadingHTTPServer):
    """A film service that knows even users, says 429 to each user's first request where it is `strict`, and can be `down`.

    `answers` are status and document of some users, whatever they ask. `bulk` makes the answer about several users from their
    documents; without it the service does not know that form.
    """

    daemon_threads = True

    def __init__(
        self,
        *,
        strict: bool = False,
        retry_after: str = "0",
        down_from: int = 10**9,
        answers: Mapping[int, tuple[int, object]] | None = None,
        bulk: Callable[[dict[int, object]], object] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.strict, self.retry_after, self.down_from, self.answers = strict, retry_after, down_from, answers or {}
        self.bulk = bulk
        self.asked: list[int] = []
        self.groups: list[list[int]] = []
        self.at_once, self.most_at_once, self.lock = 0, 0, Lock()

    @property
    def url(self) -> str:
        """Where it is, with the slash that people put behind."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        """Answer as the film service does."""
        service, asked = self.server, [int(user) for user in self.path.rpartition("/")[2].split(",")]
        if len(asked) > 1:
            self._answer_about_several(asked)
            return
        (user,) = asked
        with service.lock:
            first = user not in service.asked
            service.asked.append(user)
            service.at_once += 1
            service.most_at_once = max(service.most_at_once, service.at_once)
        if user in service.answers:
            self._send(*service.answers[user])
        elif user >= service.down_from:
            self._send(503, {})
        elif service.strict and first:
            self._send(429, {"message": "too many requests"}, {"Retry-After": service.retry_after})
        elif user % 2:
            self._send(404, {"message": "user not found"})
        else:
            self._send(200, document_of(user))
        with service.lock:
            service.at_once -= 1

    def _answer_about_several(self, users: list[int]) -> None:
        if self.server.bulk is None:
            self._send(404, {"message": "not found: ask /user/<id>"})
        elif self.server.strict and users not in self.server.groups:
            self.server.groups.append(users)
            self._send(429, {"message": "too many requests"}, {"Retry-After": self.server.retry_after})
        else:
            self.server.groups.append(users)
            self._send(200, self.server.bulk({user: document_of(user) for user in users if user % 2 == 0}))

    def _send(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def test_users_are_asked_about_once_and_remembered(tmp_path: Path) -> None:
    """Also those whom the service does not know; the next run asks about new ones alone."""
    with running(Service()) as service:
        assert fetch(tmp_path, service.url, [4, 7, 4], MANY, lambda: True) == FetchResult(2, 1)
        assert fetch(tmp_path, service.url, [7, 8, 4], MANY, lambda: True) == FetchResult(1, 1)
    assert sorted(service.asked) == [4, 7, 8]
    artist = "artist, K-12"
    assert demographics.read(tmp_path) == {4: Person(24, "F", artist), 7: Person(), 8: Person(28, "F", artist)}


@pytest.mark.parametrize(
    "bulk",
    [
        lambda documents: list(documents.values()),
        lambda documents: {str(user): each for user, each in documents.items()},
        lambda documents: [*documents.values(), {"user_id": 7, "message": "user not found"}, None, {"user_id": 10**6}],
    ],
)
def test_many_users_are_asked_about_in_one_request(tmp_path: Path, bulk: Callable[[dict[int, object]], object]) -> None:
    """In groups of 200, where the service knows that form; users whom an answer leaves out are asked about one by one."""
    with running(Service(bulk=bulk, strict=True)) as service:
        assert fetch(tmp_path, service.url, range(450), MANY, lambda: True) == FetchResult(450, 225)
    assert [len(group) for group in service.groups] == [200, 200, 200, 200, 50, 50]
    assert {user % 2 for user in service.asked} == {1}
    assert demographics.read(tmp_path)[4] == Person(24, "F", "artist, K-12")


@pytest.mark.parametrize("document", [{"user_id": 4, "age": 24}, [], "text", [{"user_id": "x"}], [[1]]])
def test_a_service_without_the_form_for_many_users_is_asked_about_each(tmp_path: Path, document: object) -> None:
    """Also one that answers about the first user alone, or with nothing of use."""
    with running(Service(bulk=lambda _documents: document)) as service:
        assert fetch(tmp_path, service.url, range(4, 8), MANY, lambda: True) == FetchResult(4, 2)
    assert (len(service.groups), sorted(service.asked)) == (1, [4, 5, 6, 7])


def test_a_service_that_wants_it_slower_gets_it_slower(tmp_path: Path) -> None:
    """Each is asked again, at most four at once."""
    with running(Service(strict=True)) as service:
        assert fetch(tmp_path, service.url, range(40), MANY, lambda: True) == FetchResult(40, 20)
    assert len(service.asked) == 80
    assert service.most_at_once <= 4


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tries, one right after the other."""
    monkeypatch.setattr("auto_deployment.ingestion.users.api.PAUSES", (0.0,) * len(PAUSES))


@pytest.mark.usefixtures("without_pauses")
def test_a_service_that_goes_away_is_reported_and_what_it_said_is_kept(tmp_path: Path) -> None:
    """After its tries, with status and path: 50 of 100 users are in the table; after a batch of none no other is begun."""
    with running(Service(down_from=50)) as service:
        result = fetch(tmp_path, service.url, range(100), MANY, lambda: True)
    assert result == FetchResult(50, 25, 46, "/user/50: status 503", is_away=True)
    assert list(demographics.read(tmp_path)) == list(range(50))
    assert service.asked.count(50) == 3
    assert set(service.asked) == set(range(96))


@pytest.mark.usefixtures("without_pauses")
def test_a_user_whom_the_service_cannot_answer_about_stops_nobody_else(tmp_path: Path) -> None:
    """The others are told about, in the same run; how many were not stands in the run's log, and the next run asks again."""
    visit(tmp_path, "recent.jsonl", *range(100))
    broken = dict.fromkeys((98, 42), (500, {"message": "sorry"}))
    with running(Service(answers=broken)) as service:
        settings = Settings(_env_file=None, data_dir=tmp_path, user_api_url=service.url)
        lines, _ = [fetch_recent_users(settings, lambda: True) for _ in range(2)]
    assert sorted(demographics.read(tmp_path)) == sorted({*range(100)} - {*broken})
    assert lines == [
        "98 users asked about, of whom the film service knows 48",
        "the film service's API did not answer about 2 (/user/98: status 500): the next run asks again",
    ]
    assert service.asked.count(42) == 2 * len(PAUSES)


def test_what_no_time_is_left_for_is_not_the_services_fault(tmp_path: Path) -> None:
    """Users who would have to be asked about again after the end; others are not asked about in the pause before it."""
    with running(Service(strict=True, retry_after="4")) as service:
        assert fetch(tmp_path, service.url, range(100), FetchLimits(100, 3.0), lambda: True) == FetchResult(0, 0)
    assert sorted(service.asked) == list(range(32))


def test_a_service_that_wants_a_long_pause_is_left_alone(tmp_path: Path) -> None:
    """Until the next run: nobody is asked about again before."""
    with running(Service(strict=True, retry_after="3600")) as service:
        result = fetch(tmp_path, service.url, range(100), MANY, lambda: True)
    assert (result.answered, result.failed, result.is_away) == (0, 32, True)
    assert sorted(service.asked) == list(range(32))


@pytest.mark.usefixtures("without_pauses")
@pytest.mark.parametrize("pause", ["-1", "nan", "-inf", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_pause_that_is_no_number_of_seconds_is_our_own(tmp_path: Path, pause: str) -> None:
    """And the user is asked about again."""
    with running(Service(strict=True, retry_after=pause)) as service:
        assert fetch(tmp_path, service.url, [4], MANY, lambda: True) == FetchResult(1, 1)


@pytest.mark.usefixtures("without_pauses")
@pytest.mark.parametrize(
    "document", [{"message": "not found: ask /user/<id> or /movie/<id>"}, {}, ["user not found"], "user not found", None]
)
def test_a_404_that_is_not_about_the_user_is_no_answer(tmp_path: Path, document: object) -> None:
    """A wrong path, or a proxy that has lost the service: nobody is put down as unknown for ever."""
    with running(Service(answers={7: (404, document)})) as service:
        assert fetch(tmp_path, service.url, [7], MANY, lambda: True) == FetchResult(
            0, 0, 1, "/user/7: status 404", is_away=True
        )
    assert demographics.read(tmp_path) == {}


def test_a_run_asks_about_so_many_users_and_for_so_long(tmp_path: Path) -> None:
    """It ends at either limit, and where it is asked to stop, after the block that it is in."""
    with running(Service()) as service:
        assert fetch(tmp_path, service.url, range(500), FetchLimits(10, 20.0), lambda: True).answered == 10
        assert fetch(tmp_path, service.url, range(500), FetchLimits(500, 0.0), lambda: True).answered == 32
        assert fetch(tmp_path, service.url, range(500), MANY, lambda: False).answered == 32


@pytest.mark.usefixtures("without_pauses")
def test_nobody_listening_fails_nothing(tmp_path: Path) -> None:
    """The run is told; there is no table then."""
    service = Service()
    service.server_close()
    settings = Settings(_env_file=None, data_dir=tmp_path, user_api_url=service.url)
    visit(tmp_path, "recent.jsonl", 1)
    (asked_line, away_line) = fetch_recent_users(settings, lambda: True)
    assert asked_line.startswith("0 users asked about")
    assert "is away (/user/1: ConnectionError)" in away_line
    assert not (tmp_path / demographics.FILE).exists()


def test_without_an_address_nobody_is_asked(tmp_path: Path) -> None:
    """And there are no lines."""
    assert fetch_recent_users(Settings(_env_file=None, data_dir=tmp_path), lambda: True) == []


def test_a_damaged_table_is_reported_and_fails_nothing(tmp_path: Path) -> None:
    """Not even the asking: the table would be lost."""
    (tmp_path / demographics.FILE).write_text("user,age\n1,2\n")
    settings = Settings(_env_file=None, data_dir=tmp_path, user_api_url="http://127.0.0.1:9")
    (line,) = fetch_recent_users(settings, lambda: True)
    assert "remove it" in line


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"age": "31", "gender": "M", "occupation": "writer"}, Person(31, "M", "writer")),
        ({"age": 0, "gender": None, "occupation": 5}, Person()),
        ({"age": 1e300, "gender": "M" * 100, "occupation": "a\nb"}, Person()),
        ({"age": "nan"}, Person()),
        ({"age": 10**400}, Person()),
        ({}, Person()),
    ],
)
def test_a_field_that_cannot_be_right_is_left_out(document: dict[str, Any], expected: Person) -> None:
    """Numbers may come as texts."""
    assert person_of(document) == expected


def test_what_is_no_document_is_refused() -> None:
    """A list is not a user's document."""
    with pytest.raises(ValueError, match="not an object"):
        person_of([1])


@pytest.mark.parametrize(
    "text", ["", "user_id,age\n", "user_id,age,gender,occupation\nx,1,M,a\n", "user_id,age,gender,occupation\n1\n"]
)
def test_a_table_that_is_none_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    """And with what to do."""
    (tmp_path / demographics.FILE).write_text(text)
    with pytest.raises(StateError, match=r"demographics\.csv: .*remove it"):
        demographics.read(tmp_path)


def test_ages_fall_into_bands() -> None:
    """By their bounds; an age that is not known is in none."""
    assert [demographics.age_band(age) for age in (None, 8, 17, 18, 24, 25, 54, 55, 129)] == [
        "",
        *["under 18"] * 2,
        *["18 to 24"] * 2,
        "25 to 34",
        "45 to 54",
        *["55 and more"] * 2,
    ]


def test_a_gender_has_one_group_however_it_is_written() -> None:
    """The table keeps the service's words. Any other word is its own group."""
    people = {user: Person(30, gender) for user, gender in enumerate(("F", "f", " female", "M", "male", "x", "X ", ""))}
    labels = demographics.labels(people, np.arange(len(people)))
    assert labels["gender"].tolist() == ["F", "F", "F", "M", "M", "x", "x", ""]


def visit(data: Path, name: str, *users: int) -> None:
    """Note visitors in one of the files."""
    (data / "visitors").mkdir(exist_ok=True)
    (data / "visitors" / name).write_text("".join(f"{user}\n" for user in users))


def test_who_came_last_is_looked_at_first(tmp_path: Path) -> None:
    """Over the files of several versions, each user once, at most so many."""
    visit(tmp_path, "recent.jsonl", 1, 2)
    visit(tmp_path, "recent_since_9.jsonl", 3, 1)
    visit(tmp_path, "recent_since_10.jsonl", 5, 3, 5)
    assert recent_users(tmp_path, 100) == [5, 3, 1, 2]
    assert recent_users(tmp_path, 2) == [5, 3]
    assert recent_users(tmp_path / "none", 2) == []
