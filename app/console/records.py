"""What the host side keeps in its JSON files, as far as pages show it. A key that older software did not write has a default.

`auto_deployment` owns these files: `release/state.py`, `release/analysis/`, `reports/version_report.py`, `provenance/chain.py`.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from app.console.problems import ProblemError

R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """A part of a file."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)


class Reading(Record):
    """A measure of a verdict: its value, limit and sample, and the evidence against what is needed."""

    name: str
    outcome: str
    value: float | None = None
    threshold: float | None = None
    unit: str = ""
    sample: int = 0
    query: str = ""
    message: str = Field("", validation_alias=AliasChoices("said", "message"))
    evidence: float | None = None
    needed: float | None = None
    required: bool = True


class Verdict(Record):
    """The judgement of a bake after `minutes`."""

    end: str
    minutes: float
    readings: tuple[Reading, ...] = ()
    reasons: tuple[str, ...] = ()
    false_alarm: bool | None = None


class Rollout(Record):
    """The release under way. Times in seconds since 1970."""

    kind: str
    version: int
    replaces: int
    who: str
    began: float
    folder: str
    step: str
    bake_began: float | None = None
    ending: str | None = None
    reasons: tuple[str, ...] = ()


class ReleaseEnd(Record):
    """How a release ended."""

    version: int
    ending: str
    reasons: tuple[str, ...] = ()
    who: str = ""
    began: float
    ended: float
    replaces: int
    folder: str
    false_alarm: bool | None = None


class ReleaseState(Record):
    """What is in service, under way and ended."""

    in_service: int | None = None
    since: float = 0.0
    served: tuple[int, ...] = ()
    taken_back: dict[str, str] = {}
    under_way: Rollout | None = None
    ends: tuple[ReleaseEnd, ...] = ()


class ShadowMetrics(Record):
    """The answers of one side of a shadow."""

    requests: int
    failed: float
    collapsed: float
    mean: float
    p99: float


class Shadow(Record):
    """The comparison of recorded requests before the canary."""

    candidate: ShadowMetrics
    stable: ShadowMetrics
    overlap: float
    source: str
    reasons: tuple[str, ...] = ()


class Event(Record):
    """A step of a release."""

    at: float
    step: str
    text: str = Field("", validation_alias=AliasChoices("said", "text"))


class Check(Record):
    """One check of the gate."""

    name: str
    value: float | None = None
    threshold: float | None = None
    passed: bool
    reason: str = Field("", validation_alias=AliasChoices("said", "reason"))


class Gate(Record):
    """The gate's decision."""

    passed: bool
    rmse: float
    spread: float = 0.0
    measured_on: str = Field("", validation_alias=AliasChoices("rows", "measured_on"))
    checks: tuple[Check, ...] = ()


class Ranking(Record):
    """How good the lists of a ranker are, offline."""

    ndcg_at_10: float
    recall_at_20: float


class Recipe(Record):
    """How a version was trained."""

    trainer: str = ""
    random_state: int | None = None
    ranker: str = ""


class DataFile(Record):
    """The rows of a table, and its MD5."""

    md5: str = ""
    rows: int | None = None


class RatingCounts(Record):
    """The rated pairs."""

    pairs: int


class Tables(Record):
    """The data of a version."""

    users: int
    films: int
    ratings: RatingCounts
    data: dict[str, DataFile] = {}


class Interval(Record):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class WatchedGroup(Record):
    """The watched share of the answers of a version on a track."""

    version: int | None
    track: str | None
    answers: int
    watched: Interval | None = None
    popular: Interval | None = None


class Telemetry(Record):
    """What users watched of the answers before this version was trained."""

    days: tuple[str, ...] = ()
    groups: tuple[WatchedGroup, ...] = ()


class Lines(Record):
    """The lines since the version before."""

    count: int = Field(0, validation_alias=AliasChoices("in", "count"))
    rejected: dict[str, int] = {}


class Drift(Record):
    """The change of the data since the version before."""

    rating_psi: float
    rating_mean: float
    new_users: int
    new_films: int


class Report(Record):
    """The report of a version."""

    version: int
    trained_on: str
    git_commit: str = ""
    gate: Gate
    ranking: dict[str, Ranking] = {}
    recipe: Recipe = Recipe()
    data: Tables
    lines: Lines = Lines()
    drift: Drift | None = None
    telemetry: Telemetry | None = None

    @property
    def ranked(self) -> Ranking | None:
        """The metrics of the ranker whose lists are served."""
        return self.ranking.get(self.recipe.ranker)

    def watched(self, version: int) -> WatchedGroup | None:
        """The watched share of `version` on the stable track, as this report has it."""
        groups = () if self.telemetry is None else self.telemetry.groups
        return next((each for each in groups if each.version == version and each.track == "stable"), None)


class Driver(Record):
    """A film of the history, and its effect on the list."""

    film: str
    did: str


class HistoryFilm(Record):
    """A film that the user rated or watched, in the data of the version."""

    film: str
    stars: float | None = None
    minutes: int | None = None
    last_at: str = ""


class AnswerFilms(Record):
    """The films of an answer, computed again."""

    films: tuple[str, ...]
    computed_by: str = ""
    same_as_recorded: bool


class RankingLink(Record):
    """How the list was made."""

    ranker: str | None = None
    step: str
    meaning: str = ""


class Chain(Record):
    """The chain behind an answer."""

    user: int
    answer: AnswerFilms | None = None
    ranking: RankingLink
    drivers: tuple[Driver, ...] = ()
    history: tuple[HistoryFilm, ...] | None = None
    missing: dict[str, str] = {}


def record_of(kind: type[R], value: object, what: str) -> R:
    """The record of a JSON value. Raises ProblemError, which names the first wrong key."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the object"
        raise ProblemError(
            f"{what} is damaged ({where}: {first['msg']})", "restore the file, see docs/operations.md"
        ) from error
