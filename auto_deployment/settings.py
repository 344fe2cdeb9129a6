"""What the host side is told by the environment or `.env`, as one frozen, typed object."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from auto_deployment.errors import WrongUseError
from auto_deployment.events import Rules


class Settings(BaseSettings):
    """Settings of a retraining run."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, env_file=".env", allow_inf_nan=False)

    data_dir: Path = Field(Path("data"), description="tables, quarantine and model")
    rating_min: float = Field(1.0, description="lowest rating of the scale")
    rating_max: float = Field(5.0, description="highest rating of the scale")
    user_id_max: int = Field(1_999_999, ge=1, lt=2**63, description="a higher user id is damage (a digit too many)")
    max_reject_share: float = Field(0.05, ge=0, le=1, description="more rejects than this refuse the run, from 1,000 lines on")
    trainer: Literal["surprise"] = Field("surprise", description="what predicts the rating")
    ranker: Literal["auto", "svd", "popularity"] = Field("auto", description="what ranks; auto: the better one inside the data")
    rmse_limit: float = Field(1.0, gt=0, description="the gate's limit, for a scale of 1 to 5; it scales with the range")
    random_state: int = Field(0, ge=0, lt=2**32, description="seed of the training")

    @model_validator(mode="after")
    def _scale_has_a_range(self) -> Self:
        if not self.rating_min < self.rating_max:
            raise ValueError(f"RATING_MIN ({self.rating_min:g}) must be below RATING_MAX ({self.rating_max:g})")
        return self

    @property
    def rules(self) -> Rules:
        """What a line of the stream must keep to."""
        return Rules(self.rating_min, self.rating_max, self.user_id_max)

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest rating."""
        return self.rating_min, self.rating_max


def load_settings(**given: object) -> Settings:
    """The settings of this environment, with `given` ones on top. Raises WrongUseError naming each bad one."""
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])).upper() or 'settings'}: {item['msg']}" for item in error.errors()]
        raise WrongUseError("; ".join(problems)) from error
