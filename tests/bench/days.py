"""`bench days`: simulated days with and without freshness, and how often users watch a film of their answer.

Both arms have the same users, films and arrivals. A version is trained every two days and answers after a bake of 12 hours. An
answer counts as watched if the user begins one of its films within a day, as in `auto_deployment.online_evaluation`. The
simulator's own model of a choice also gives the chance that the user begins one of the films next: it has less noise.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from app.events import Rating, Reject, Repaired, Rules, Watch, parse
from app.exploring import recommender_of
from app.fresh.list_model import ListModel
from app.fresh.recommender import FreshRecommender
from app.fresh.state import State
from app.model import RESERVE, load_serving, save
from auto_deployment.common.blas import one_thread
from auto_deployment.online_evaluation.attribution import HOURS
from auto_deployment.ranking.diverse_popular import diverse_popular
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.list_weights import facts, film_minutes, likes_and_seen
from auto_deployment.ranking.metrics import CERTAINTY, RESAMPLES
from auto_deployment.ranking.model_selection import choose
from auto_deployment.ranking.precompute import cold_arrays, serving_arrays
from auto_deployment.ranking.ranker_factory import RankerFactory
from auto_deployment.training.dataset import Dataset, Ratings, Watches
from auto_deployment.training.surprise_svd import SurpriseSVD
from scripts.simulator.choice import Offer, weights
from scripts.simulator.lines import RequestOutcome, StreamOptions
from scripts.simulator.stream import stream_lines
from scripts.simulator.world import World
from tests.bench.measure import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from app.events import Event
    from app.recommender import Recommender
    from auto_deployment.ranking.model_selection import Choice

    Floats = npt.NDArray[np.float64]

SEEDS = (1, 2, 3)
SCALE, RULES = (1.0, 5.0), Rules(1.0, 5.0, 1_999_999)
DAY = 86_400.0
# Every fourth minute has a line: films look shorter then, and each viewing passes the same shares of its film.
MINUTES_SHARE = 0.25
# A film that was begun this long before an answer must not be in it.
SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """Sizes and times, in days. 480,000 viewings a day of a million users are half a viewing for each.

    The first version is trained after `history`; `end` is the end of the last answer's day.
    """

    users: int = 10_000
    films: int = 2_000
    viewings_a_day: float = 0.5
    history: float = 10.0
    end: float = 20.0
    between: float = 2.0
    bake: float = 0.5

    def options(self) -> StreamOptions:
        """The stream. It lasts a little longer than `end`."""
        plain, days = StreamOptions(), self.end + 0.25
        ratings = round(self.users * self.viewings_a_day * days * plain.rating_share)
        return StreamOptions(ratings=ratings, days=days, minutes_share=MINUTES_SHARE)

    @property
    def start(self) -> float:
        """The stream's first second since 1970."""
        return StreamOptions().start.timestamp()


class Given(NamedTuple):
    """An answer at `time`, whether its version knew the user, and the chance that the user begins one of its films next."""

    time: float
    user: int
    films: tuple[str, ...]
    known: bool
    step: str
    chance: float = 0.0


@dataclass
class History:
    """What users have watched and rated of `films`, the ids in ascending order. `begun` has times by user and film."""

    films: tuple[str, ...]
    begun: dict[int, dict[str, float]] = field(default_factory=dict)
    minutes: dict[tuple[int, int], int] = field(default_factory=dict)
    watched_at: dict[tuple[int, int], float] = field(default_factory=dict)
    ratings: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.numbers = {film: number for number, film in enumerate(self.films)}

    def add(self, event: Rating | Watch, time: float) -> None:
        """Take an event. A damaged film's id is none of the films."""
        film = self.numbers.get(event.film)
        if film is None:
            return
        pair = event.user, film
        if isinstance(event, Rating):
            self.ratings.pop(pair, None)  # ratings are in the order of time
            self.ratings[pair] = time, event.stars
        else:
            self.begun.setdefault(event.user, {}).setdefault(event.film, time)
            self.minutes[pair] = self.minutes.get(pair, 0) + 1
            self.watched_at[pair] = time

    def dataset(self) -> Dataset:
        """All of it, as the training has it."""
        users = np.unique([user for user, _ in (*self.minutes, *self.ratings)]).astype(np.int64)
        times, stars = np.array([*self.ratings.values()]).reshape(-1, 2).T
        rated, watched = (_columns(pairs, users) for pairs in (self.ratings, self.minutes))
        minutes = np.array([*self.minutes.values()], dtype=np.int32)
        watched_at = (np.array([*self.watched_at.values()]) * 1e6).astype(np.int64)
        ratings = Ratings(*rated, stars.astype(np.float32), (times * 1e6).astype(np.int64))
        watches = Watches(*watched, minutes, watched_at)
        return Dataset(users, self.films, ratings, watches, (), {}, np.zeros(len(watches), dtype=np.int32))


def _columns(
    pairs: Iterable[tuple[int, int]], users: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    user, film = np.array([*pairs], dtype=np.int64).reshape(-1, 2).T
    return np.searchsorted(users, user).astype(np.int32), film.astype(np.int32)


class Version:
    """A trained version that answers; with `fresh` it follows the stream from the end of its data."""

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._serving, self._list_model = load_serving(folder), ListModel(folder)
        plain = recommender_of(self._serving)
        self.state = State(self._list_model) if fresh else None
        self._recommender: Recommender | FreshRecommender = plain
        if fresh:
            self._recommender = FreshRecommender(plain, self._serving, self, lambda: self._list_model)

    def find(self, user: int) -> bytes | None:
        """A user's record, with the list that is due: see `app.fresh.recommender.Records`."""
        assert self.state is not None
        self.state.compute_due()
        return self.state.records().get(user)

    def answer(self, user: int, time: float) -> Given:
        """The answer for a user."""
        answer = self._recommender.recommend(user)
        return Given(time, user, tuple(answer.body.split(",")), self._serving.row_of(user) is not None, answer.step)


class Arm:
    """Answers the users of a stream, whose lines it takes, and trains a version every few days. For one thread."""

    server = "127.0.0.1:8082"

    def __init__(self, world: World, plan: Plan, folder: Path, *, fresh: bool) -> None:
        self.history = History(tuple(sorted(world.films.ids)))
        self._world = world
        self.answers: list[Given] = []
        self._popular = tuple(world.films.ids[:20])
        self._plan, self._folder, self._is_fresh = plan, folder, fresh
        self._now, self._train_at = 0.0, plan.start + plan.history * DAY
        self._versions: list[tuple[float, Version]] = []
        self._choice: Choice | None = None
        self._trained = 0

    def ask(self, user: int, /) -> RequestOutcome:
        """See `scripts.simulator.audience.RecommenderClient`. Before the first version everybody gets popular films."""
        films = self._popular
        if self._versions:
            given = self._versions[0][1].answer(user, self._now)
            films = given.films
            self.answers.append(given._replace(chance=self._chance(user, films)))
        return RequestOutcome(self.server, 200, ", ".join(films), 60.0, films)

    def take(self, line: str) -> None:
        """Take a line of the stream."""
        parsed = parse(line, RULES)
        event: Event | Reject = parsed.event if isinstance(parsed, Repaired) else parsed
        if not isinstance(event, Rating | Watch):
            return
        self._now = datetime.fromisoformat(event.time).replace(tzinfo=UTC).timestamp()
        if self._train_at <= self._now < self._plan.start + self._plan.end * DAY:
            self._train()
        if len(self._versions) > 1 and self._now >= self._versions[1][0]:
            del self._versions[0]
        self.history.add(event, self._now)
        for _, version in self._versions:
            if version.state is not None:
                version.state.apply(event)

    def _chance(self, user: int, films: Sequence[str]) -> float:
        world, places = self._world, self._world.films.places
        place, offered = world.users.place(user), [places[film] for film in films]
        assert place is not None
        seen = {places[film] for film in self.history.begun.get(user, ())}
        weighed = weights(world, place, seen, Offer(offered, StreamOptions().uplift))
        return float(weighed[offered].sum() / weighed.sum())

    def _train(self) -> None:
        bake = self._plan.bake * DAY if self._versions else 0.0
        self._trained += 1
        folder = self._folder / f"{self._trained}"
        self._choice = train(folder, self.history.dataset(), self._choice)
        self._versions.append((self._train_at + bake, Version(folder, fresh=self._is_fresh)))
        self._train_at += self._plan.between * DAY


@one_thread()
def train(folder: Path, dataset: Dataset, choice: Choice | None) -> Choice:
    """Train a version with its fresh part. Ranker and tuning are those of `choice`; None chooses them."""
    feedback = Feedback.of(dataset, SCALE)
    choice = choice or choose(feedback, SurpriseSVD(), 0, lambda: None)
    factory, seen = RankerFactory(feedback, SurpriseSVD(), 0), feedback.seen()
    serving = serving_arrays(dataset, factory.make(choice.ranker, choice.tuning), seen, lambda _: None)
    popular = factory.popularity(choice.tuning.half_life).scores
    serving |= cold_arrays(diverse_popular(popular, feedback, RESERVE), serving["top"].dtype)
    item_weights = factory.weights(choice.ranker, choice.tuning)
    fresh = {**item_weights.arrays, **likes_and_seen(factory.taste, seen), "film_minutes": film_minutes(feedback)}
    described = facts(SCALE, RULES.user_max, item_weights.item_share, {})
    metadata = {"version": 1, "cold_lists": ["popular"], "scale": SCALE, "ranker": choice.ranker, "fresh": described}
    save(folder, metadata, serving, {}, fresh)
    return choice


class Counts(NamedTuple):
    """Sums for each user: answers, watched ones, chances, and answers with a film that was begun before.

    `unknown` and `unknown_watched` are of answers to users whom the version did not know.
    """

    answers: Floats
    watched: Floats
    chance: Floats
    begun: Floats
    unknown: Floats
    unknown_watched: Floats


def count(answers: Iterable[Given], history: History, users: Sequence[int], last: float) -> Counts:
    """Count the answers up to `last`. `seen_all` has films that the user has seen, as there are no others."""
    place = {user: at for at, user in enumerate(users)}
    table = np.zeros((len(Counts._fields), len(users)))
    for each in answers:
        if each.time > last:
            continue
        begun = history.begun.get(each.user, {})
        began = [begun[film] - each.time for film in each.films if film in begun]
        watched = any(0 < after <= HOURS * 3600 for after in began)
        before = each.step != "seen_all" and any(after < -SECONDS for after in began)
        table[:, place[each.user]] += (1, watched, each.chance, before, not each.known, watched and not each.known)
    return Counts(*table)


class Comparison(NamedTuple):
    """A share with freshness and without, and the interval of their difference and of their ratio, over users."""

    fresh: float
    plain: float
    difference: tuple[float, float]
    ratio: tuple[float, float]

    def text(self) -> str:
        """For people."""
        low, high = self.difference
        change = self.fresh - self.plain
        return f"{self.fresh:.4f} with freshness, {self.plain:.4f} without, {change:+.4f} ({low:+.4f} to {high:+.4f})"


def compare(fresh: tuple[Floats, Floats], plain: tuple[Floats, Floats], seed: int = 0) -> Comparison:
    """Compare two shares of the same users, each as successes and answers by user. The users are drawn again."""
    table, users = np.stack([*fresh, *plain]), len(fresh[0])
    draw, even = np.random.default_rng(seed), np.full(users, 1 / users)
    found = np.array([_shares(table @ draw.multinomial(users, even)) for _ in range(RESAMPLES)])
    edges = (1 - CERTAINTY) / 2, (1 + CERTAINTY) / 2
    ours, theirs = _shares(table.sum(axis=1))
    difference, ratio = (np.quantile(each, edges) for each in (found[:, 0] - found[:, 1], found[:, 0] / found[:, 1]))
    return Comparison(ours, theirs, (float(difference[0]), float(difference[1])), (float(ratio[0]), float(ratio[1])))


def _shares(sums: Floats) -> tuple[float, float]:
    return float(sums[0] / sums[1]), float(sums[2] / sums[3])


def simulate(seed: int, plan: Plan, folder: Path, *, fresh: bool) -> Counts:
    """The counts of a world with freshness or without."""
    world = World.generate(seed, plan.users, plan.films)
    arm = Arm(world, plan, folder / f"{seed}-{fresh}", fresh=fresh)
    for line in stream_lines(world, plan.options(), client=arm):
        arm.take(line)
    last = plan.start + plan.end * DAY - HOURS * 3600
    return count(arm.answers, arm.history, world.users.ids.tolist(), last)


def run() -> list[Row]:
    """All rows: the worlds of `SEEDS` together."""
    return rows(Plan(), SEEDS)


def rows(plan: Plan, seeds: Sequence[int]) -> list[Row]:
    """The rows of these worlds together."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ProcessPoolExecutor(os.cpu_count()) as pool:
        runs = {
            is_fresh: [pool.submit(simulate, seed, plan, Path(name), fresh=is_fresh) for seed in seeds]
            for is_fresh in (True, False)
        }
        fresh, plain = (_joined([each.result() for each in runs[is_fresh]]) for is_fresh in (True, False))
    counted = {
        "watched share": ("watched", "answers"),
        "watched share of unknown users": ("unknown_watched", "unknown"),
        "chance of the next film": ("chance", "answers"),
        "answers with a begun film": ("begun", "answers"),
    }
    found = {}
    for measure, (part, whole) in counted.items():
        sides = [(getattr(arm, part), getattr(arm, whole)) for arm in (fresh, plain)]
        found[measure] = compare(sides[0], sides[1])
        sys.stdout.write(f"  {measure}: {found[measure].text()}\n")
    sys.stdout.write(f"  answers with freshness {fresh.answers.sum():,.0f}, without {plain.answers.sum():,.0f}\n")
    return [_row(measure, each) for measure, each in found.items()]


def _joined(worlds: Sequence[Counts]) -> Counts:
    return Counts(*(np.concatenate(columns) for columns in zip(*worlds, strict=True)))


def _row(measure: str, found: Comparison) -> Row:
    low, high = found.ratio
    ratio, is_begun = found.fresh / found.plain, measure == "answers with a begun film"
    better: Literal["higher", "lower"] = "lower" if is_begun else "higher"
    return Row("days", measure, found.fresh, found.plain, ratio, high - low, better, 0.0 if is_begun else None)
