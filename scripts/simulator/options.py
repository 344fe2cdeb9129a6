"""What a stream should be like."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from scripts.simulator.damage import DamageRates
from scripts.simulator.errors import InputError

NO_RECOMMENDER, POPULAR = "none", "popular"
DEFAULT_LINES = 100_000


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The settings of one stream; the defaults give the mix that was measured: 98 % watches, 1 % ratings, 1 % requests.

    `lines` and `ratings` are exact; the stream ends at the one that is set (`lines` when neither is). `days` sets the
    pace: about the time that the whole stream spans. The shares are those of sessions that begin with a request, of
    films that are rated, and of watched minutes that get a line. `uplift` is defined in `choice`. `recommender` is
    `none`, `popular` or the address of a running service. The `seed` is the world's own unless it is set. `decimals` (0, 3, 6
    or 9) are those of the seconds of watches, ratings and new accounts; requests always have some.
    """

    seed: int | None = None
    start: datetime = datetime(2026, 1, 5, 8, tzinfo=UTC)
    days: float = 1.0
    lines: int | None = None
    ratings: int | None = None
    rating_share: float = 0.8
    request_share: float = 0.8
    minutes_share: float = 1.0
    uplift: float = 0.5
    recommender: str = POPULAR
    timeout_ms: float = 600.0
    damage: DamageRates = field(default_factory=DamageRates)
    decimals: int = 0

    def session_rate(self, minutes: float) -> float:
        """Give the sessions a second that fill the span, where a film is watched for `minutes` in the mean."""
        requests = 0.0 if self.recommender == NO_RECOMMENDER else self.request_share
        per_session = self.rating_share
        if self.ratings is None:
            per_session += self.minutes_share * minutes + requests
        if per_session <= 0:
            raise InputError("with these shares nothing would be written: raise --rating-share or --minutes-share")
        return self.wanted / per_session / (self.days * 86_400)

    @property
    def wanted(self) -> int:
        """How many lines, or ratings where they are the measure, the stream will have."""
        return self.ratings if self.ratings is not None else self.lines or DEFAULT_LINES
