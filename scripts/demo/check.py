"""The demo's own tests (`--check`): the HTTP routes, the shares of traffic, and that every answer can be traced."""

from __future__ import annotations

import csv
import http.client
import json
import time
import urllib.parse
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.errors import RunError
from auto_deployment.ingestion.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.provenance import Ledger
    from auto_deployment.common.progress import Progress
    from scripts.demo.settings import DemoFolder, Service

REQUESTS = 500
SHARE_ALLOWANCE = 0.03
SHIP_SECONDS = 15.0
MOST_FILMS = 20
# Requests that must be refused, with the statuses that are allowed.
REFUSED = {
    "GET /recommend/abc": (400,),
    "GET /recommend/-1": (400,),
    "GET /recommend/12345678901234567890": (400,),
    "GET /recommend/9223372036854775808": (400,),
    "GET /recommend/%C2%B2": (400,),
    "GET /recommend/": (404,),
    "GET /recommend": (404,),
    "OPTIONS /recommend/1": (405,),
    "GET /recommend/../metrics": (404,),
    "GET /recommend/" + "9" * 10_000: (414,),
    "POST /recommend/1": (405,),
    "GET /metrics": (404,),
    "GET /": (404,),
}


class HttpAnswer(NamedTuple):
    """An answer of a service. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: str


class KeepAliveClient:
    """Sends requests over one connection.

    It stands on http.client, because `requests` would normalise the damaged paths in `REFUSED`.
    """

    def __init__(self, url: str) -> None:
        address = urllib.parse.urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)

    def request(self, method: str, path: str) -> HttpAnswer:
        """Send one request. Raises RunError if there is no answer."""
        try:
            self._connection.request(method, path)
            response = self._connection.getresponse()
            body = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RunError(f"{method} {path[:60]}: no answer ({error})") from error
        return HttpAnswer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def check(url: str, services: Sequence[Service], demo: DemoFolder, ledger: Ledger, progress: Progress) -> None:
    """Send requests and show the answers. Raises RunError at the first wrong answer."""
    client = KeepAliveClient(url)
    answered = _lists(client, demo, progress)
    _refusals(client, progress)
    answered += _shares(client, progress)
    _metrics(services, progress)
    _traced(answered, ledger, progress)
    progress.heading("all as it should be")


def _lists(client: KeepAliveClient, demo: DemoFolder, progress: Progress) -> list[str]:
    """Request lists for a known user and for the highest possible user id. Returns the answers' ids."""
    watched, catalogue = _tables(demo)
    ids = []
    for user in (next(iter(watched)), 2**63 - 1):
        answer = client.request("GET", f"/recommend/{user}")
        films = answer.body.split(",")
        _require(answer.status == 200 and 1 <= len(films) <= MOST_FILMS, f"user {user}", answer)
        _require(len(set(films)) == len(films) and set(films) <= catalogue, f"user {user}: films not in the catalogue", answer)
        _require(not watched.get(user, set()).intersection(films), f"user {user}: films they watched or rated", answer)
        progress.say(f"user {user}: {len(films)} films by {answer.headers['x-track']}, {answer.body[:60]}...")
        ids.append(answer.headers["x-answer-id"])
    return ids


def _tables(demo: DemoFolder) -> tuple[dict[int, set[str]], set[str]]:
    """The films that each user watched or rated, and all films. All watches are open: the demo publishes no version."""
    watched: dict[int, set[str]] = {}
    tables = Tables(demo.data)
    for path in (tables.ratings, tables.watches):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                watched.setdefault(int(row["user_id"]), set()).add(row["movie_id"])
    return watched, set().union(*watched.values())


def _refusals(client: KeepAliveClient, progress: Progress) -> None:
    for request, allowed in REFUSED.items():
        answer = client.request(*request.split(" ", 1))
        _require(answer.status in allowed, request[:60], answer)
        progress.say(f"{request[:40]}: {answer.status} {answer.body.strip()[:60]}")


def _shares(client: KeepAliveClient, progress: Progress) -> list[str]:
    """Send many requests: the canary gets a fifth of them. Returns the answers' ids."""
    answers = [client.request("GET", f"/recommend/{user}") for user in range(REQUESTS)]
    for each in answers:
        _require(each.status == 200, "a request", each)
    tracks = Counter(each.headers["x-track"] for each in answers)
    share = tracks["canary"] / REQUESTS
    progress.say(f"{REQUESTS} requests: {tracks['stable']} by stable, {tracks['canary']} by the canary")
    if abs(share - 0.2) > SHARE_ALLOWANCE:
        raise RunError(f"the canary got {share:.1%} of the requests instead of 20 %")
    return [each.headers["x-answer-id"] for each in answers]


def _metrics(services: Sequence[Service], progress: Progress) -> None:
    for service in services:
        answer = KeepAliveClient(f"http://127.0.0.1:{service.metrics_port}").request("GET", "/metrics")
        named = f'track="{service.track}"' in answer.body and "flask_http_request_duration_seconds_bucket" in answer.body
        _require(answer.status == 200 and named, f"metrics of {service.name}", answer)
    progress.say(f"metrics of {', '.join(service.name for service in services)}: there, by track and version")


def _traced(answered: Sequence[str], ledger: Ledger, progress: Progress) -> None:
    """Every answer arrives in the database exactly once, and no other answer does."""
    until = time.monotonic() + SHIP_SECONDS
    while ledger.count() < len(answered) and time.monotonic() < until:
        time.sleep(0.1)
    known = ledger.answer_ids()
    if sorted(known) != sorted(answered):
        raise RunError(
            f"{len(answered)} answers were given, {len(known)} are in the database, {len(set(known) & set(answered))} in both"
        )
    progress.say(f"{len(answered)} answers given, {len(known)} in the database: each once")


def _require(holds: object, subject: str, answer: HttpAnswer) -> None:
    if not holds:
        raise RunError(f"{subject}: {answer.status} {json.dumps(answer.body[:200])}")
