"""What the demo asks itself under `--check`: the HTTP contract, the shares of traffic, and that every answer can be traced."""

from __future__ import annotations

import csv
import http.client
import json
import time
import urllib.parse
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.provenance import Ledger
    from auto_deployment.common.progress import Progress
    from scripts.demo.settings import Place, Service

REQUESTS = 500
SHARE_ALLOWANCE = 0.03
SHIP_SECONDS = 15.0
MOST_FILMS = 20
# What is asked for, and the statuses that the contract allows.
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


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: str


class Client:
    """Asks over one connection that is kept open."""

    def __init__(self, url: str) -> None:
        place = urllib.parse.urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=5)

    def ask(self, method: str, path: str) -> Got:
        """One request. Raises RunError where no answer comes."""
        try:
            self._connection.request(method, path)
            response = self._connection.getresponse()
            body = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RunError(f"{method} {path[:60]}: no answer ({error})") from error
        return Got(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def check(url: str, services: Sequence[Service], place: Place, ledger: Ledger, progress: Progress) -> None:
    """Ask, show the answers, and raise RunError at the first one that is not as the contract has it."""
    client = Client(url)
    answered = _lists(client, place, progress)
    _refusals(client, progress)
    answered += _shares(client, progress)
    _metrics(services, progress)
    _traced(answered, ledger, progress)
    progress.heading("all as it should be")


def _lists(client: Client, place: Place, progress: Progress) -> list[str]:
    """A known user, a new one and the highest there can be; their answers' ids."""
    seen, catalogue = _tables(place)
    ids = []
    for user in (next(iter(seen)), 2**63 - 1):
        got = client.ask("GET", f"/recommend/{user}")
        films = got.body.split(",")
        _require(got.status == 200 and 1 <= len(films) <= MOST_FILMS, f"user {user}", got)
        _require(len(set(films)) == len(films) and set(films) <= catalogue, f"user {user}: films not of the catalogue", got)
        _require(not seen.get(user, set()).intersection(films), f"user {user}: films they have seen", got)
        progress.say(f"user {user}: {len(films)} films by {got.headers['x-track']}, {got.body[:60]}...")
        ids.append(got.headers["x-answer-id"])
    return ids


def _tables(place: Place) -> tuple[dict[int, set[str]], set[str]]:
    """What each user of the tables has seen, and all films."""
    seen: dict[int, set[str]] = {}
    for name in ("clean_rating.csv", "clean_watch.csv"):
        with (place.data / name).open(newline="") as file:
            for row in csv.DictReader(file):
                seen.setdefault(int(row["user_id"]), set()).add(row["movie_id"])
    return seen, set().union(*seen.values())


def _refusals(client: Client, progress: Progress) -> None:
    for asked, allowed in REFUSED.items():
        got = client.ask(*asked.split(" ", 1))
        _require(got.status in allowed, asked[:60], got)
        progress.say(f"{asked[:40]}: {got.status} {got.body.strip()[:60]}")


def _shares(client: Client, progress: Progress) -> list[str]:
    """Many requests: the canary gets a fifth of them."""
    got = [client.ask("GET", f"/recommend/{user}") for user in range(REQUESTS)]
    for each in got:
        _require(each.status == 200, "a request", each)
    tracks = Counter(each.headers["x-track"] for each in got)
    share = tracks["canary"] / REQUESTS
    progress.say(f"{REQUESTS} requests: {tracks['stable']} by stable, {tracks['canary']} by the canary")
    if abs(share - 0.2) > SHARE_ALLOWANCE:
        raise RunError(f"the canary got {share:.1%} of the requests instead of 20 %")
    return [each.headers["x-answer-id"] for each in got]


def _metrics(services: Sequence[Service], progress: Progress) -> None:
    for service in services:
        got = Client(f"http://127.0.0.1:{service.metrics_port}").ask("GET", "/metrics")
        named = f'track="{service.track}"' in got.body and "flask_http_request_duration_seconds_bucket" in got.body
        _require(got.status == 200 and named, f"metrics of {service.name}", got)
    progress.say(f"metrics of {', '.join(service.name for service in services)}: there, by track and version")


def _traced(answered: Sequence[str], ledger: Ledger, progress: Progress) -> None:
    """Every answer arrives in the database, once, and nothing else does."""
    until = time.monotonic() + SHIP_SECONDS
    while ledger.count() < len(answered) and time.monotonic() < until:
        time.sleep(0.1)
    known = ledger.answer_ids()
    if sorted(known) != sorted(answered):
        raise RunError(
            f"{len(answered)} answers were given, {len(known)} are in the database, {len(set(known) & set(answered))} in both"
        )
    progress.say(f"{len(answered)} answers given, {len(known)} in the database: each once")


def _require(holds: object, asked: str, got: Got) -> None:
    if not holds:
        raise RunError(f"{asked}: {got.status} {json.dumps(got.body[:200])}")
