from __future__ import annotations

import hashlib
import json
import logging
import string
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response

from app import __version__, journal
from app.factory import create_app
from app.recommender import Answer
from app.routes import Service, add_routes, new_id
from app.settings import ServiceSettings
from app.track import Track

if TYPE_CHECKING:
    from app.request_log import Entry

ID_SIGNS = frozenset(string.ascii_letters + string.digits + "._-")
MOST = 2**63 - 1
ANSWERED = ["0", "5", "007", "0000000000000000005", str(MOST)]
BAD_USERS = [
    *("abc", "-1", "+1", "1.0", "1e3", "0x1", "1_000", "5,6", "5;6", "5:6", "5=6", "none", "NaN"),
    *("²", "٣", "1٣", "５", "é", "\u2028"),  # noqa: RUF001 - digits that are none of ours
    *("5\n", "\n5", " 5", "5 ", "5\0", "5\r", "\t5", "%35", "5%00", "5?", "#5", "..", "...", ".", "~", "'", '"', "<b>"),
    *("12345678901234567890", "00000000000000000000", str(MOST + 1), "9" * 19, "1" * 10_000, "x" * 10_000),
]
NO_PATHS = [
    *("", "/", "/recommend", "/recommend/", "/recommend//5", "/recommend/5/", "/recommend/5/6", "/recommend///"),
    *(
        "/recommend/../metrics",
        "/recommend/./5",
        "/metrics",
        "/Recommend/5",
        "/healthz/",
        "/readyz/x",
        "/static/x",
        "/favicon.ico",
    ),
]


class FakeRecommender:
    """Answers with the user's id, or fails."""

    version = 3

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.reasons: list[str] = []
        self.explored = ""

    def recommend(self, user: int) -> Answer:
        """An answer that names its user."""
        if self.error is not None:
            raise self.error
        return Answer(f"film+{user},{self.explored or 'other+1999'}", "known", self.explored)

    def replay(self, user: int, inputs: str) -> Answer:
        """What is always the same, without inputs."""
        assert not inputs
        return Answer(f"film+{user},other+1999", "known")

    def problems(self) -> list[str]:
        """What the test says."""
        return self.reasons


class FakeProvenance:
    """Keeps lines in a list, or takes none."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.state = journal.JournalState()

    def append(self, line: bytes) -> bool:
        """Keep a line where there is no problem."""
        if self.state.problem:
            return False
        self.lines.append(line)
        return True


class Harness:
    """The routes with fakes around them."""

    def __init__(self) -> None:
        self.recommender = FakeRecommender()
        self.provenance = FakeProvenance()
        self.logged: list[Entry] = []
        self.lost = 0
        self.app = self.made(Service(self.recommender, self.provenance, Track("canary"), self.logged.append, self.lose))

    def lose(self) -> None:
        """Count a row that was lost."""
        self.lost += 1

    @staticmethod
    def made(service: Service) -> Flask:
        """An application with the routes alone."""
        app = Flask("test", static_folder=None)
        add_routes(app, service)
        return app

    def ask(self, path: str, method: str = "GET", **headers: str) -> Response:
        """Ask for `path` as it stands, nothing decoded or tidied; HTTP_... headers as a WSGI server gives them."""
        return ask(self.app, path, method, **headers)


def ask(app: Flask, path: str, method: str = "GET", **headers: str) -> Response:
    """Ask `app` for a path as it stands."""
    builder = EnvironBuilder("/", method=method)
    environ = builder.get_environ()
    builder.close()
    environ.update(headers, PATH_INFO=path.encode("utf-8", "surrogateescape").decode("latin-1"))
    return Response.from_app(app, environ, buffered=True)


@pytest.fixture
def harness() -> Harness:
    """The routes with fakes around them."""
    return Harness()


@pytest.fixture(scope="module")
def bystander() -> Harness:
    """The same for properties, which do not check the fakes' calls."""
    return Harness()


def assert_refused(response: Response, status: int) -> None:
    """An answer without a list: one line of text, the headers of the service, and no answer id."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    text = response.get_data(as_text=True)
    assert text.strip()
    assert len(text.splitlines()) == 1
    assert response.headers["X-Model-Version"] == "3"
    assert response.headers["X-Track"] == "canary"
    assert response.headers["X-Request-ID"]
    assert "X-Answer-ID" not in response.headers


@pytest.mark.parametrize("user", ANSWERED)
def test_a_user_of_1_to_19_digits_is_answered(harness: Harness, user: str) -> None:
    """The list, in exactly the form of the contract; zeros in front do not count."""
    response = harness.ask(f"/recommend/{user}")
    assert response.status_code == 200
    assert response.data == f"film+{int(user)},other+1999".encode()
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Length"] == str(len(response.data))
    assert response.headers["X-Model-Version"] == "3"
    assert response.headers["X-Track"] == "canary"


@pytest.mark.parametrize("user", BAD_USERS, ids=lambda user: ascii(user)[:30])
def test_anything_else_in_the_place_of_a_user_is_a_bad_request(harness: Harness, user: str) -> None:
    """Letters, signs, other alphabets' digits, too many digits: 400, and nothing is remembered."""
    assert_refused(harness.ask(f"/recommend/{user}"), 400)
    assert harness.provenance.lines == []


@pytest.mark.parametrize("path", NO_PATHS)
def test_other_paths_are_not_found(harness: Harness, path: str) -> None:
    """404, the metrics and static files too, and no redirect to another path."""
    assert_refused(harness.ask(path), 404)
    assert harness.provenance.lines == []


def test_slashes_in_front_of_the_path_do_not_count(harness: Harness) -> None:
    """A path that begins with two slashes is the same path, as it is for NGINX."""
    assert harness.ask("//recommend/5").data == b"film+5,other+1999"
    assert_refused(harness.ask("//recommend//5"), 404)


def test_bytes_that_are_no_text_are_a_bad_request(harness: Harness) -> None:
    """A user that is not UTF-8: 400."""
    assert_refused(harness.ask("/recommend/\udcff\udcfe"), 400)


@given(
    user=st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=30)
    | st.text("0123456789", min_size=1, max_size=25)
    | st.text("0123456789²٣+- \n", min_size=1, max_size=21)
)
def test_any_user_is_answered_or_refused(bystander: Harness, user: str) -> None:
    """Whatever stands in the place of a user: 200 for what the contract calls a user, 400 for the rest."""
    is_user = len(user) <= 19 and set(user) <= set(string.digits) and int(user) <= MOST
    assert bystander.ask(f"/recommend/{user}").status_code == (200 if is_user else 400)


@given(path=st.text(max_size=60))
def test_any_path_is_answered(bystander: Harness, path: str) -> None:
    """No path is an error of the server, and none but those of the contract is a list."""
    assert bystander.ask(f"/x{path}").status_code == 404


def test_a_query_changes_nothing(harness: Harness) -> None:
    """What follows a question mark is left alone."""
    assert harness.ask("/recommend/5", QUERY_STRING="user=6&x[]=%ff").data == b"film+5,other+1999"


def test_head_has_the_headers_without_the_list(harness: Harness) -> None:
    """HEAD gets the headers of GET, with the length, and has its own row."""
    response = harness.ask("/recommend/5", "HEAD")
    assert response.status_code == 200
    assert response.data == b""
    assert response.headers["Content-Length"] == str(len("film+5,other+1999"))
    assert journal.from_line(harness.provenance.lines[0]).answer_id == response.headers["X-Answer-ID"]


@pytest.mark.parametrize("path", ["/recommend/5", "/recommend/x", "/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X"])
def test_other_methods_are_not_allowed(harness: Harness, method: str, path: str) -> None:
    """405 with the methods that are, for every method but GET and HEAD."""
    response = harness.ask(path, method)
    assert_refused(response, 405)
    assert {each.strip() for each in response.headers["Allow"].split(",")} == {"GET", "HEAD"}
    assert harness.provenance.lines == []


@given(
    header=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=70) | st.text("aZ9._-", max_size=70)
)
def test_a_request_id_is_kept_if_it_has_the_form(bystander: Harness, header: str) -> None:
    """1 to 64 letters, digits, dots, underscores and hyphens are kept; anything else gives way to a new one, on every path."""
    for path in ("/recommend/5", "/recommend/x", "/nothing"):
        kept = bystander.ask(path, HTTP_X_REQUEST_ID=header).headers["X-Request-ID"]
        if 1 <= len(header) <= 64 and set(header) <= ID_SIGNS:
            assert kept == header
        else:
            assert uuid.UUID(kept).version == 7


def test_request_ids_without_a_clients_own_are_new(harness: Harness) -> None:
    """Every request has an id of its own, and it is not the answer's."""
    responses = [harness.ask("/recommend/5") for _ in range(20)]
    ids = {response.headers[name] for response in responses for name in ("X-Request-ID", "X-Answer-ID")}
    assert len(ids) == 40


def test_answer_ids_are_unique_and_ordered_by_time(harness: Harness) -> None:
    """A client sends its request id again and again: each answer has a new id, greater than the last."""
    answers = [harness.ask("/recommend/5", HTTP_X_REQUEST_ID="again").headers["X-Answer-ID"] for _ in range(50)]
    assert len(set(answers)) == 50
    assert answers == sorted(answers)


def test_a_new_id_is_a_uuid_of_now() -> None:
    """32 hexadecimal digits: version 7, the milliseconds of now in front, unique and in order."""
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(5000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 5000
    assert [each[:16] for each in ids] == sorted(each[:16] for each in ids)
    for each in ids:
        as_uuid = uuid.UUID(each)
        assert as_uuid.hex == each
        assert as_uuid.version == 7
        assert before <= as_uuid.int >> 80 <= after


def test_the_row_tells_what_the_headers_tell(harness: Harness) -> None:
    """What is journalled equals what the client gets, with the time, the step and the body's digest."""
    before = time.time_ns() // 1000
    response = harness.ask("/recommend/5", HTTP_X_REQUEST_ID="request-1")
    after = time.time_ns() // 1000
    (line,) = harness.provenance.lines
    row = journal.from_line(line)
    assert row.answer_id == response.headers["X-Answer-ID"]
    assert row.request_id == response.headers["X-Request-ID"] == "request-1"
    assert row.user_id == 5
    assert str(row.version_number) == response.headers["X-Model-Version"]
    assert row.track == response.headers["X-Track"]
    assert before <= row.served_at <= after
    assert row.step == "known"
    assert row.digest == hashlib.blake2b(response.data, digest_size=8).hexdigest()


def test_the_row_is_written_before_the_answer(harness: Harness) -> None:
    """When the server hears of the status, the journal has the row already."""
    rows_then: list[int] = []

    def start_response(*_: Any) -> Any:
        rows_then.append(len(harness.provenance.lines))

    builder = EnvironBuilder("/recommend/5")
    list(harness.app.wsgi_app(builder.get_environ(), start_response))
    builder.close()
    assert rows_then == [1]


def test_a_releases_own_try_leaves_no_trace(harness: Harness) -> None:
    """The same list with the same version and track, but no row, no line in the log, and no id to ask for later."""
    usual, tried = harness.ask("/recommend/5"), harness.ask("/recommend/5", HTTP_X_SHADOW="1")
    assert tried.data == usual.data
    assert [tried.headers[name] for name in ("X-Model-Version", "X-Track")] == ["3", "canary"]
    assert "X-Answer-ID" not in tried.headers
    assert len(harness.provenance.lines) == len(harness.logged) == 1


def test_a_releases_own_try_does_not_explore(harness: Harness) -> None:
    """Lists are compared with each other: what was drawn for one answer would be a difference of nobody's making."""
    harness.recommender.explored = "rare+1950"
    usual, tried = harness.ask("/recommend/5"), harness.ask("/recommend/5", HTTP_X_SHADOW="1")
    assert (usual.data, tried.data) == (b"film+5,rare+1950", b"film+5,other+1999")
    assert journal.from_line(harness.provenance.lines[0]).inputs == "rare+1950"


def test_a_journal_that_fails_does_not_fail_the_answer(harness: Harness) -> None:
    """A row that could not be written is counted, and the client gets the list all the same."""
    harness.provenance.state.problem = "No space left on device"
    assert harness.ask("/recommend/5").data == b"film+5,other+1999"
    assert harness.ask("/recommend/x").status_code == 400
    assert harness.lost == 1


@pytest.mark.parametrize("provenance", [None, FakeProvenance()])
def test_parts_that_are_switched_off_are_not_missed(provenance: FakeProvenance | None) -> None:
    """Without journal, log and metrics the answers are the same."""
    if provenance is not None:
        provenance.state.problem = "full"
    app = Harness.made(Service(FakeRecommender(), provenance, Track("stable"), None, None))
    assert ask(app, "/recommend/5").data == b"film+5,other+1999"
    assert ask(app, "/recommend/x").status_code == 400


def test_an_answer_is_logged(harness: Harness) -> None:
    """The log's line of an answer has the ids of the headers and a time."""
    response = harness.ask("/recommend/5", HTTP_X_REQUEST_ID="request-1")
    (entry,) = harness.logged
    assert entry.milliseconds >= 0
    assert entry._replace(milliseconds=0) == ("request-1", response.headers["X-Answer-ID"], 5, 3, "canary", 200, 0, None)


@pytest.mark.parametrize(("path", "status"), [("/recommend/x", 400), ("/nothing\n", 404)])
def test_a_refusal_is_logged_with_its_path(harness: Harness, path: str, status: int) -> None:
    """The log's line of a refusal has the request id of the header and the path as it came."""
    response = harness.ask(path)
    (entry,) = harness.logged
    assert entry.milliseconds >= 0
    assert entry._replace(milliseconds=0) == (response.headers["X-Request-ID"], None, None, 3, "canary", status, 0, path)


def test_a_recommender_that_raises_is_one_line_to_the_client(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """500 with one line that tells nothing of the inside; the traceback is in the log alone, and nothing is remembered."""
    harness.recommender.error = ZeroDivisionError("a secret of the inside")
    response = harness.ask("/recommend/5", HTTP_X_REQUEST_ID="request-1")
    assert_refused(response, 500)
    assert response.data == b"internal server error"
    assert response.headers["X-Request-ID"] == "request-1"
    assert harness.provenance.lines == []
    assert harness.logged[0].status == 500
    (record,) = caplog.records
    assert record.getMessage() == "GET /recommend/5 failed"
    assert record.exc_info is not None


def test_after_an_error_the_next_request_is_answered(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """An error is one request's own."""
    caplog.set_level(logging.CRITICAL)
    harness.recommender.error = RuntimeError()
    assert harness.ask("/recommend/5").status_code == 500
    harness.recommender.error = None
    assert harness.ask("/recommend/5").status_code == 200


def test_healthz_says_that_the_process_lives(harness: Harness) -> None:
    """200 and one word, even where the service is not ready."""
    harness.recommender.reasons = ["the list 'popular' is empty"]
    response = harness.ask("/healthz")
    assert (response.status_code, response.data) == (200, b"ok")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_readyz_tells_version_and_track(harness: Harness) -> None:
    """200 and JSON."""
    response = harness.ask("/readyz")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(response.data) == {
        "ready": True,
        "version": 3,
        "track": "canary",
        "software": __version__,
        "reasons": [],
        "journal": {"ok": True, "problem": "", "rows_lost": 0},
        "fresh_as_of": None,
    }


def test_readyz_gives_the_reasons_why_not(harness: Harness) -> None:
    """503 and every reason where the service cannot recommend."""
    harness.recommender.reasons = ["the list 'popular' is empty", "and more"]
    response = harness.ask("/readyz")
    assert response.status_code == 503
    body = json.loads(response.data)
    assert body["ready"] is False
    assert body["reasons"] == ["the list 'popular' is empty", "and more"]
    assert body["version"] == 3


def test_a_problem_of_the_journal_shows_while_ready(harness: Harness) -> None:
    """The body names a journal that loses rows, and the service stays ready."""
    harness.provenance.state.problem, harness.provenance.state.lost = "No space left on device", 7
    response = harness.ask("/readyz")
    assert response.status_code == 200
    assert json.loads(response.data)["journal"] == {"ok": False, "problem": "No space left on device", "rows_lost": 7}


def test_a_journal_that_is_off_shows_while_ready() -> None:
    """Without a journal the service is ready, and tells the setting."""
    app = Harness.made(Service(FakeRecommender(), None, Track("stable"), None, None))
    response = ask(app, "/readyz")
    assert response.status_code == 200
    assert json.loads(response.data)["journal"] == {"ok": False, "problem": "off: JOURNAL_DIR is not set", "rows_lost": 0}


def test_the_factory_puts_the_parts_together(capfd: pytest.CaptureFixture[str]) -> None:
    """What is passed in answers, remembers and logs; the track is the settings'."""
    provenance = FakeProvenance()
    app = create_app(ServiceSettings(metrics=False, track="canary"), FakeRecommender(), provenance)
    response = ask(app, "/recommend/5")
    assert response.headers["X-Track"] == "canary"
    assert journal.from_line(provenance.lines[0]).track == "canary"
    assert json.loads(capfd.readouterr().out)["answer_id"] == response.headers["X-Answer-ID"]


def test_the_request_log_can_be_switched_off(capfd: pytest.CaptureFixture[str]) -> None:
    """REQUEST_LOG=0: nothing on standard output."""
    app = create_app(ServiceSettings(metrics=False, request_log=False), FakeRecommender(), None)
    assert ask(app, "/recommend/5").status_code == 200
    assert ask(app, "/recommend/x").status_code == 400
    assert capfd.readouterr().out == ""
