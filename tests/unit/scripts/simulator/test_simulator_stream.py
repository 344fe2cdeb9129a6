from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import datetime
from itertools import islice, pairwise

import numpy as np
import pytest

from app.events import Reject, Repaired, parse
from scripts.simulator import LineCounts, StreamOptions, World, stream_lines
from scripts.simulator.choice import weights
from scripts.simulator.errors import InputError
from scripts.simulator.lines import DamageRates, Kind

CLEAN = DamageRates(0, 0, 0)
WHOLE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?),(?P<user>\d{1,7}),GET "
    r"(/data/m/(?P<watched>[a-z0-9+._*-]+)/(?P<minute>\d+)\.mpg|/rate/(?P<rated>[a-z0-9+._*-]+)=(?P<stars>[1-5])|/create_account)"
)
REQUEST = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{3}|\d{6}|\d{9})),(?P<user>\d{1,7}),recommendation request "
    r"127\.0\.0\.1:8082, status (?P<status>200|0), result: (?P<result>.*), (?P<ms>\d+) ms"
)


@pytest.fixture(scope="module")
def world() -> World:
    """A world that all tests here share."""
    return World.generate(11, users=400, films=300)


@pytest.fixture(scope="module")
def lines(world: World) -> list[str]:
    """A stream without damage, of full sessions."""
    return list(stream_lines(world, StreamOptions(lines=40_000, days=2, damage=CLEAN)))


def moment(line: str) -> datetime:
    """The time of a line, to the microsecond."""
    return datetime.fromisoformat(line.split(",", 1)[0][:26])


def test_the_same_seed_gives_the_same_lines(world: World) -> None:
    """World and options fix every byte, damage and requests included; another seed gives other lines."""
    options = StreamOptions(lines=5000, damage=DamageRates(0.1, 0.1, 0.1))
    again = World.generate(11, users=400, films=300)
    assert list(stream_lines(world, options)) == list(stream_lines(again, options))
    other = StreamOptions(lines=5000, damage=DamageRates(0.1, 0.1, 0.1), seed=12)
    assert list(stream_lines(world, options)) != list(stream_lines(world, other))


@pytest.mark.parametrize("decimals", [3, 6, 9])
def test_lines_may_have_decimals(world: World, decimals: int) -> None:
    """All kinds of lines, in the order of time; the pipeline takes each of them."""
    lines = list(stream_lines(world, StreamOptions(lines=5000, days=1, damage=CLEAN, decimals=decimals)))
    times = [line.partition(",")[0] for line in lines if "recommendation" not in line]
    assert {len(time.partition(".")[2]) for time in times} == {decimals}
    assert len({time.partition(".")[2] for time in times}) > 20
    assert times == sorted(times)
    assert not [line for line in lines if isinstance(parse(line), Reject | Repaired)]


def test_every_undamaged_line_has_a_form_of_the_stream(lines: list[str], world: World) -> None:
    """Watches, ratings, accounts and requests, of known films and users, and no line of another form."""
    users, films = set(world.users.ids.tolist()), set(world.films.ids)
    for line in lines:
        match = WHOLE.fullmatch(line) or REQUEST.fullmatch(line)
        assert match, line
        assert int(match["user"]) in users
        named = match.groupdict()
        assert {named.get("watched"), named.get("rated")} - {None} <= films


def test_lines_come_in_the_order_of_time(lines: list[str]) -> None:
    """No line is earlier than the one before it, and the whole spans about the days asked for."""
    times = [moment(line) for line in lines]
    assert times == sorted(times)
    assert times[0] >= datetime.fromisoformat("2026-01-05T08:00:00")
    assert (times[-1] - times[0]).total_seconds() / 86_400 == pytest.approx(2, rel=0.25)


def test_one_line_in_sixty_leaves_its_seconds_out(lines: list[str]) -> None:
    """Whole seconds are written as the stream writes them."""
    whole = [line for line in lines if WHOLE.fullmatch(line)]
    short = sum(line[16] == "," for line in whole)
    assert short / len(whole) == pytest.approx(1 / 60, rel=0.35)


def test_a_film_is_watched_minute_by_minute_among_others(lines: list[str], world: World) -> None:
    """Minutes count up from 0 a minute apart, never past the end of the film; users watch at the same time."""
    sessions: dict[tuple[str, str], list[tuple[int, datetime]]] = defaultdict(list)
    for line in lines:
        match = WHOLE.fullmatch(line)
        if match and match["watched"]:
            sessions[match["user"], match["watched"]].append((int(match["minute"]), moment(line)))
    runtimes = dict(zip(world.films.ids, world.films.runtimes, strict=True))
    for (_, film), minutes in sessions.items():
        assert [minute for minute, _ in minutes] == list(range(len(minutes)))
        assert len(minutes) <= runtimes[film]
        assert {(later - earlier).total_seconds() for (_, earlier), (_, later) in pairwise(minutes)} <= {60}
    users = [line.split(",")[1] for line in lines]
    assert sum(one != other for one, other in pairwise(users)) > len(users) / 2


def test_the_mix_is_the_measured_one(world: World) -> None:
    """About 98 lines in 100 are watches, 1 is a rating and 1 a request, with ratings spread as in the real month."""
    tally = LineCounts()
    given = list(stream_lines(world, StreamOptions(lines=60_000, damage=CLEAN), tally))
    assert tally.lines == len(given) == 60_000
    assert tally.counts[Kind.WATCH] / 60_000 == pytest.approx(0.98, abs=0.01)
    assert tally.counts[Kind.RATING] / 60_000 == pytest.approx(0.01, abs=0.004)
    assert tally.counts[Kind.RECOMMENDATION] / 60_000 == pytest.approx(0.01, abs=0.004)
    assert tally.counts[Kind.ACCOUNT] > 0


def test_ratings_are_exact_where_they_are_the_measure(world: World) -> None:
    """The stream ends with the last rating asked for."""
    tally = LineCounts()
    *_, last = stream_lines(world, StreamOptions(ratings=500, minutes_share=0.01, days=5, damage=CLEAN), tally)
    assert tally.counts[Kind.RATING] == 500
    assert "/rate/" in last


def test_ratings_follow_the_real_distribution() -> None:
    """Over many users the shares of 1 to 5 are near those of the real month."""
    crowd = World.generate(8, users=4000, films=500)
    options = StreamOptions(ratings=8000, minutes_share=0, days=30, damage=CLEAN, request_share=0)
    stars = Counter(line[-1] for line in stream_lines(crowd, options) if "/rate/" in line)
    shares = [stars[value] / 8000 for value in "12345"]
    assert shares == pytest.approx([0.0016, 0.0395, 0.3347, 0.4953, 0.1288], abs=0.04)


def test_a_thinned_stream_keeps_a_share_of_the_minutes(world: World) -> None:
    """Of 100 minutes watched about 5 get a line, in the order of time."""
    tally = LineCounts()
    given = list(stream_lines(world, StreamOptions(lines=6000, minutes_share=0.05, days=3, damage=CLEAN), tally))
    assert tally.counts[Kind.WATCH] / tally.counts[Kind.RATING] == pytest.approx(0.05 * 98, rel=0.25)
    assert [moment(line) for line in given] == sorted(moment(line) for line in given)


def test_damage_reaches_the_lines_at_its_rates(world: World) -> None:
    """Of the lines of a stream the share asked for is damaged, and the tally counts what they were."""
    options = StreamOptions(lines=30_000, damage=DamageRates(ratings=0.2, watches=0.05, empty_ratings=0.1), days=1)
    tally, clean = LineCounts(), list(stream_lines(world, StreamOptions(lines=30_000, damage=CLEAN, days=1)))
    spoilt = list(stream_lines(world, options, tally))
    changed = Counter("/rate/" in line for line, other in zip(clean, spoilt, strict=True) if line != other)
    assert changed[True] / tally.counts[Kind.RATING] == pytest.approx(0.3, rel=0.2)
    assert changed[False] / tally.counts[Kind.WATCH] == pytest.approx(0.05, rel=0.1)


def test_accounts_are_opened_once_and_before_all_else(lines: list[str]) -> None:
    """A new user's first line opens the account, and no user opens two."""
    first: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.split(",")[1], line)
    opened = [line.split(",")[1] for line in lines if line.endswith("GET /create_account")]
    assert len(opened) == len(set(opened)) > 10
    assert all(first[user].endswith("GET /create_account") for user in opened)


def test_users_return(lines: list[str]) -> None:
    """Sessions are spread unevenly over users, and many users come again."""
    films: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if "/data/m/" in line:
            films[line.split(",")[1]].add(line.split("/")[3])
    counts = sorted(map(len, films.values()))
    assert counts[-1] >= 4
    assert sum(count > 1 for count in counts) > len(counts) / 4


def test_the_popular_recommender_offers_the_top_and_fails_at_times(lines: list[str], world: World) -> None:
    """A request that succeeds names the 20 most popular films; one that ran out of time says so with status 0."""
    requests = [match for line in lines if (match := REQUEST.fullmatch(line))]
    results = {match["status"]: match["result"] for match in requests}
    assert results["200"] == ", ".join(world.films.ids[:20])
    failures = [match for match in requests if match["status"] == "0"]
    assert 0 < len(failures) / len(requests) < 0.06
    assert all("TimeoutException" in match["result"] and int(match["ms"]) >= 600 for match in failures)


def test_without_a_recommender_nobody_asks(world: World) -> None:
    """`none` writes no request."""
    options = StreamOptions(lines=5000, recommender="none", damage=CLEAN)
    assert not any("recommendation" in line for line in stream_lines(world, options))


@pytest.mark.parametrize("uplift", [0.0, 1.0])
def test_the_planted_uplift_is_recovered(uplift: float) -> None:
    """Each session's own odds, from the weights and the history, give the planted effect back."""
    world = World.generate(21, users=3000, films=200)
    options = StreamOptions(
        ratings=8000, rating_share=1, minutes_share=0, request_share=0.5, uplift=uplift, days=40, damage=CLEAN
    )
    seen: dict[int, list[int]] = defaultdict(list)
    asked: set[int] = set()
    trials: list[tuple[float, bool]] = []
    for line in stream_lines(world, options):
        user = world.users.place(int(line.split(",")[1]))
        assert user is not None
        if "status 200" in line:
            asked.add(user)
        elif "/rate/" in line:
            film = world.films.places[line[line.index("/rate/") + 6 : line.rindex("=")]]
            if film in seen[user]:
                continue  # a change of mind, not a session
            if user in asked:
                weighed = weights(world, user, seen[user])
                trials.append((weighed[:20].sum() / weighed.sum(), film < 20))
                asked.remove(user)
            seen[user].append(film)
    before, taken = np.array([share for share, _ in trials]), sum(hit for _, hit in trials)
    candidates = np.arange(-0.5, 3.0, 0.02)
    expected = [((1 + u) * before / (1 + u * before)).sum() for u in candidates]
    recovered = candidates[int(np.abs(np.array(expected) - taken).argmin())]
    assert recovered == pytest.approx(uplift, abs=0.2)


def test_shares_that_write_nothing_are_refused(world: World) -> None:
    """Where no line could ever come, the caller hears so instead of waiting for ever."""
    silent = StreamOptions(ratings=5, rating_share=0)
    with pytest.raises(InputError, match="raise --rating-share"):
        list(stream_lines(world, silent))


def test_lines_come_one_at_a_time(world: World) -> None:
    """The first lines of a stream too long to hold are there at once."""
    endless = stream_lines(world, StreamOptions(lines=10**12, days=10**7))
    assert len(list(islice(endless, 100))) == 100


def test_a_span_too_short_for_its_users_is_overrun() -> None:
    """A handful of users cannot watch faster than time passes: the stream takes longer, and ends."""
    few = World.generate(1, users=3, films=20)
    given = list(stream_lines(few, StreamOptions(lines=2000, days=1e-9)))
    assert len(given) == 2000
    assert (moment(given[-1]) - moment(given[0])).total_seconds() > 2000 / 3 * 50
