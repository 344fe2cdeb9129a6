from __future__ import annotations

import pytest

from scripts.simulator.errors import InputError, MalformedAnswerError
from scripts.simulator.service import broken_off, films_of, outcome_of, server_of, timed_out

TWENTY = ",".join(f"film+{number}+1999" for number in range(20))


@pytest.mark.parametrize("body", ["a+1999", "a+1999,b_+c+2000,connections+", TWENTY])
def test_one_to_twenty_distinct_ids_are_an_answer(body: str) -> None:
    """What keeps the contract is read, in its order."""
    assert films_of(body.encode()) == tuple(body.split(","))


@pytest.mark.parametrize(
    ("body", "breach"),
    [
        (b"", "empty"),
        (b"a+1999, b+2000", "a blank"),
        (b"a+1999\n", "a line break"),
        (b"a+1999,,b+2000", "an empty id"),
        (b"a+1999,", "an empty id"),
        (b"a+1999,b+2000,a+1999", "an id twice"),
        (f"{TWENTY},one+more+1999".encode(), "21 ids"),
        ("amélie+2001".encode(), "not plain ASCII"),
        (b"\xff", "not plain ASCII"),
    ],
)
def test_a_breach_of_the_contract_is_named(body: bytes, breach: str) -> None:
    """A malformed body is refused with what is wrong with it, and counts as a failure without status 200."""
    with pytest.raises(MalformedAnswerError, match=breach):
        films_of(body)
    answer = outcome_of("h:1", 200, body, 5.0)
    assert (answer.status, answer.failure, answer.films) == (0, "malformed", ())
    assert breach in answer.result


def test_a_good_answer_is_logged_with_its_films() -> None:
    """Status 200, the ids joined by a comma and a blank, no failure."""
    answer = outcome_of("h:1", 200, b"a+1999,b+2000", 5.0)
    assert (answer.status, answer.result, answer.films, answer.failure) == (200, "a+1999, b+2000", ("a+1999", "b+2000"), "")


def test_another_status_is_a_failure_of_that_name() -> None:
    """The status and the text of the service are kept."""
    answer = outcome_of("h:1", 503, b"not ready\n", 5.0)
    assert (answer.status, answer.result, answer.failure) == (503, "not ready", "status 503")
    assert outcome_of("h:1", 404, b"", 5.0).result == "no text"


def test_a_time_out_reads_as_in_the_real_stream() -> None:
    """Status 0 and the film service's own words."""
    answer = timed_out("team17:8082", 600.0, 604.2)
    assert (answer.status, answer.failure) == (0, "timeout")
    assert answer.result == "java.util.concurrent.TimeoutException: Request timeout to team17:8082 after 600 ms"


def test_a_lost_connection_is_reported_from_a_refused_one() -> None:
    """Both have status 0; the text says which, also where the error has none of its own."""
    refused = broken_off("h:1", ConnectionRefusedError("refused"), 1.0)
    lost = broken_off("h:1", ConnectionResetError(), 1.0)
    assert (refused.failure, lost.failure) == ("connection", "connection")
    assert refused.result == "java.net.ConnectException: refused"
    assert lost.result == "java.io.IOException: ConnectionResetError"


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.1:8082", ("127.0.0.1", 8082)), ("http://host/", ("host", 80)), ("http://[::1]:90", ("::1", 90))],
)
def test_an_address_is_host_and_port(url: str, expected: tuple[str, int]) -> None:
    """The port of HTTP stands in for one that is missing."""
    assert server_of(url) == expected


@pytest.mark.parametrize(
    "url", ["", "host:8082", "ftp://host", "http://", "http://host:x", "http://host/path", "http://host:99999"]
)
def test_no_address_is_refused_with_the_form_wanted(url: str) -> None:
    """What is not of the form http://HOST:PORT is named."""
    with pytest.raises(InputError, match="give it as http://HOST:PORT"):
        server_of(url)
