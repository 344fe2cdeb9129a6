from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import __version__
from app.journal import from_line
from tests.integration.load import Load
from tests.unit.app import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Server

FULL_LIST = ",".join(samples.FILMS[:20]).encode()
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running service with two workers."""
    made = make_server(samples.save(tmp_path_factory.mktemp("artifact") / "model"), TRACK="canary")
    made.start()
    yield made
    assert made.stop() == 0


def ids_in(path: Path) -> set[str]:
    """The answer ids of one journal."""
    return {from_line(line).answer_id for line in path.read_bytes().splitlines(keepends=True)}


def rows(journals: Path) -> list[str]:
    """The answer ids of all journals."""
    paths = journals.glob("*/*.tsv")
    return [from_line(line).answer_id for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def say(server: Server, text: bytes) -> bytes:
    """Send bytes as they are and read all that comes back until the server hangs up."""
    with server.raw() as connection:
        connection.sendall(text)
        return b"".join(iter(lambda: connection.recv(100_000), b""))


def request(target: bytes, method: bytes = b"GET", head: bytes = b"Host: here\r\n", *, last: bool = True) -> bytes:
    """A request, its target as it stands; the last one asks the server to hang up."""
    return method + b" " + target + b" HTTP/1.1\r\n" + head + (b"Connection: close\r\n" if last else b"") + b"\r\n"


def status_of(heard: bytes) -> int:
    """The status of the first answer."""
    match = STATUS.match(heard)
    assert match, heard[:200]
    return int(match[1])


def test_an_answer_has_the_form_of_the_contract(server: Server) -> None:
    """Status, type, headers and body of a known user's answer."""
    answer = server.ask(f"/recommend/{samples.FULL}", headers={"X-Request-ID": "request-1"})
    assert answer.status == 200
    assert answer.body == FULL_LIST
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Length"] == str(len(FULL_LIST))
    assert answer.headers["X-Request-ID"] == "request-1"
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Answer-ID"])
    assert answer.headers["X-Model-Version"] == str(samples.VERSION)
    assert answer.headers["X-Track"] == "canary"


@pytest.mark.parametrize("user", [0, samples.FULL + 1, samples.SEEN_ALL, 2**63 - 1])
def test_everybody_gets_a_list(server: Server, user: int) -> None:
    """Unknown users, and one who saw everything, get popular films."""
    assert server.ask(f"/recommend/{user}").body == samples.POPULAR.encode()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/recommend/5", 200),
        (b"/recommend/5?and=more", 200),
        (b"/recommend/%35", 200),
        (b"http://elsewhere/recommend/5", 200),
        (b"/recommend/0000000000000000005", 200),
        (b"/recommend/abc", 400),
        (b"/recommend/-1", 400),
        (b"/recommend/+1", 400),
        (b"/recommend/%C2%B2", 400),
        (b"/recommend/\xc2\xb2", 400),
        (b"/recommend/%D9%A3", 400),
        (b"/recommend/%ff%fe", 400),
        (b"/recommend/5%0A", 400),
        (b"/recommend/5%00", 400),
        (b"/recommend/%", 400),
        (b"/recommend/..", 400),
        (b"/recommend/12345678901234567890", 400),
        (b"/recommend/9223372036854775808", 400),
        (b"/recommend/" + b"x" * 8000, 400),
        (b"/recommend/", 404),
        (b"/recommend", 404),
        (b"/recommend//5", 404),
        (b"/recommend/5/", 404),
        (b"/recommend/5%2F6", 404),
        (b"/recommend/../metrics", 404),
        (b"/metrics", 404),
        (b"/", 404),
        (b"/recommend/" + b"9" * 10_000, 414),
    ],
    ids=lambda value: str(value)[:40],
)
def test_targets_are_answered_as_the_contract_says(server: Server, target: bytes, status: int) -> None:
    """What a client puts in the request line, byte for byte."""
    heard = say(server, request(target))
    assert status_of(heard) == status
    assert (FULL_LIST in heard) == (status == 200)


@given(
    user=st.binary(max_size=20).map(lambda text: re.sub(rb"[\s/?#]", b"", text))
    | st.from_regex(rb"[0-9]{1,21}", fullmatch=True)
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_target_is_an_error_of_the_server(server: Server, user: bytes) -> None:
    """Whatever bytes stand in the place of a user: a list, or a refusal."""
    heard = say(server, request(b"/recommend/" + user))
    meant = unquote_to_bytes(user)
    is_user = re.fullmatch(rb"[0-9]{1,19}", meant) and int(meant) < 2**63
    assert status_of(heard) in ({200} if is_user else {400, 404})


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Host: \xff\xfe\r\n",
        b"Host: a b:c/d\r\n",
        b"Host: [::1\r\n",
        b"Host: here\r\nX-Request-ID: \xff\r\n",
        b"Host: here\r\nX-Request-ID: a\r\nX-Request-ID: b\r\n",
        b"Host: here\r\nCookie: \x01=;;=\r\n",
        b"Host: here\r\nX-Forwarded-Proto: gopher\r\n",
        b"Host: here\r\nExpect: 100-continue\r\n",
        b"Host: here\r\nRange: bytes=5-1\r\n",
        b"Host: here\r\nAccept-Encoding: \xe2\x82\xac\r\n",
        b"Host: here\r\nContent-Length: -1\r\n",
        b"Host: here\r\nno header at all\r\n",
    ],
    ids=repr,
)
def test_no_header_is_an_error_of_the_server(server: Server, head: bytes) -> None:
    """Odd and broken headers are answered with a whole list, or refused."""
    heard = say(server, request(b"/recommend/5", head=head))
    last = heard.rpartition(b"HTTP/1.1 ")
    assert status_of(last[1] + last[2]) in {200, 400}
    assert heard.endswith(FULL_LIST) == last[2].startswith(b"200 ")


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"INVENTED"])
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Content-Length: 9000\r\n", b"\0" * 9000),
        (b"Transfer-Encoding: chunked\r\n", b"2328\r\n" + b"\0" * 9000 + b"\r\n0\r\n\r\n"),
    ],
    ids=["5 bytes", "9 kB", "chunked"],
)
def test_other_methods_are_not_allowed(server: Server, method: bytes, head: bytes, body: bytes) -> None:
    """405 with the methods that are, and the connection can be used again even after a body."""
    first = request(b"/recommend/5", method, b"Host: here\r\n" + head, last=False) + body
    heard = say(server, first + request(b"/recommend/5"))
    assert STATUS.findall(heard) == [b"405", b"200"]
    assert heard.endswith(FULL_LIST)
    (allowed,) = re.findall(rb"\r\nAllow: (.*)\r\n", heard)
    assert set(allowed.split(b", ")) == {b"GET", b"HEAD"}


def test_an_answer_arrives_in_one_piece(server: Server) -> None:
    """The first thing that a client hears is the whole answer, head and list."""
    with server.raw() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(50):
            connection.sendall(request(b"/recommend/5", last=False))
            heard = connection.recv(100_000)
            assert heard.startswith(b"HTTP/1.1 200 ")
            assert heard.endswith(b"\r\n\r\n" + FULL_LIST)


def test_a_connection_is_kept(server: Server) -> None:
    """Many requests over one connection, lists, refusals and paths that are none."""
    with server.connection() as connection:
        connection.connect()
        sock = connection.sock
        for path, status in [("/recommend/5", 200), ("/recommend/x", 400), ("/nothing", 404), ("/healthz", 200)] * 10:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == status
            assert response.headers["Connection"] == "keep-alive"
            assert connection.sock is sock


def test_requests_that_are_sent_together_are_answered_in_order(server: Server) -> None:
    """Several requests in one packet: as many answers, each to its own."""
    first = b"".join(request(target, last=False) for target in (b"/recommend/5", b"/recommend/x", b"/healthz"))
    heard = say(server, first + request(b"/recommend/1"))
    assert STATUS.findall(heard) == [b"200", b"400", b"200", b"200"]
    assert heard.endswith(samples.POPULAR.encode())


def test_head_has_no_body(server: Server) -> None:
    """After the head of the first answer follows the second one at once."""
    heard = say(server, request(b"/recommend/5", b"HEAD", last=False) + request(b"/recommend/1"))
    first, _, rest = heard.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(FULL_LIST)}".encode() in first
    assert b"X-Answer-ID: " in first
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_of_http_1_0_gets_its_answer(server: Server) -> None:
    """Without keep-alive the connection is closed behind the answer."""
    heard = say(server, b"GET /recommend/5 HTTP/1.0\r\n\r\n")
    assert heard.endswith(FULL_LIST)


def test_the_service_is_ready(server: Server) -> None:
    """Version, track and the journal's state."""
    answer = server.ask("/readyz")
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "ready": True,
        "version": samples.VERSION,
        "track": "canary",
        "software": __version__,
        "reasons": [],
        "journal": {"ok": True, "problem": "", "rows_lost": 0},
        "fresh_as_of": None,
    }


def test_every_answer_of_many_clients_has_one_row_and_one_line(server: Server) -> None:
    """Clients at once: no failure, each answer in a journal once, and one JSON line on standard output for each."""
    load = Load(server.port, requests=1500, clients=8)
    load.start()
    load.finish()
    assert load.failures == []
    assert load.statuses == Counter({200: 1500})
    journalled = Counter(rows(server.journals))
    assert [each for each in load.answer_ids if journalled[each] != 1] == []
    logged = Counter(json.loads(line).get("answer_id") for line in server.output())
    assert [each for each in load.answer_ids if logged[each] != 1] == []


def test_each_worker_writes_a_journal_of_its_own(server: Server) -> None:
    """Whichever of the two workers has to answer alone, its answers are in a file that the other one does not write."""
    files = set()
    for held_up in server.workers():
        os.kill(held_up, signal.SIGSTOP)
        try:
            answered_ids = {server.ask("/recommend/5").headers["X-Answer-ID"] for _ in range(3)}
        finally:
            os.kill(held_up, signal.SIGCONT)
        (path,) = [path for path in server.journals.glob("*/*.tsv") if answered_ids <= ids_in(path)]
        files.add(path)
    assert len(files) == 2


def test_ids_of_one_connection_are_ordered(server: Server) -> None:
    """What one client asks one after the other has ids in that order, whichever worker answers."""
    ids = [server.ask("/recommend/5").headers["X-Answer-ID"] for _ in range(20)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def test_a_client_that_goes_away_harms_nobody(server: Server) -> None:
    """Connections that are dropped in the midst of a request, or before the answer is read: others are answered."""
    for text in (b"", b"GET /reco", request(b"/recommend/5")):
        for _ in range(5):
            with server.raw() as connection:
                connection.sendall(text)
    started = time.monotonic()
    assert server.ask("/recommend/5").body == FULL_LIST
    assert time.monotonic() - started < 5
    assert "Traceback" not in server.errors()


def test_a_journal_that_is_full_costs_rows_and_is_counted(make_server: Callable[..., Server], server: Server) -> None:
    """The folder holds its bound: answers go on, `/readyz` tells it while ready, and the metric counts each lost row."""
    full = make_server(server.settings["MODEL_DIR"], JOURNAL_MAX_MB="1", WORKERS="1")
    ballast = full.journals / "stable-1" / "0.tsv"
    ballast.parent.mkdir(parents=True)
    ballast.write_bytes(bytes(1 << 20))
    full.start()
    for _ in range(7):
        assert full.ask("/recommend/5").body == FULL_LIST
    readiness = full.ask("/readyz")
    assert readiness.status == 200
    assert json.loads(readiness.body)["journal"]["rows_lost"] == 7
    assert "holds its 1 MiB" in json.loads(readiness.body)["journal"]["problem"]
    labels = frozenset({("track", "stable"), ("version", str(samples.VERSION))})
    assert full.scrape()["journal_rows_lost_total", labels] == 7
    assert full.stop() == 0
    assert full.errors().count("answers continue, but their rows are lost") == 1


def test_without_a_journal_answers_are_the_same(make_server: Callable[..., Server], server: Server) -> None:
    """JOURNAL_DIR unset: the log and `/readyz` say so, and lists are served."""
    bare = make_server(server.settings["MODEL_DIR"], JOURNAL_DIR="", WORKERS="1", REQUEST_LOG="0")
    bare.start()
    assert bare.ask("/recommend/5").body == FULL_LIST
    assert json.loads(bare.ask("/readyz").body)["journal"]["problem"] == "off: JOURNAL_DIR is not set"
    assert bare.stop() == 0
    assert "JOURNAL_DIR is not set" in bare.errors()
    assert bare.output() == []


def test_a_response_is_complete_for_a_strict_client(server: Server) -> None:
    """Python's own client reads the body to its stated length, and nothing follows."""
    with server.connection() as connection:
        connection.request("GET", "/recommend/5")
        response = connection.getresponse()
        assert isinstance(response, http.client.HTTPResponse)
        assert response.length == len(FULL_LIST)
        assert response.read() == FULL_LIST
        assert response.isclosed()
