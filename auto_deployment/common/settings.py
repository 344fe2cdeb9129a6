"""The settings of the host side by group, read from the environment or `.env` into one frozen, typed object."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.env_file import EnvFileError, ignored_names, read_env_file, unknown_names
from app.provenance import SecretError, mysql_url, read_secret
from app.settings import DatabaseSettings, TopicSettings
from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.memory import available_gb
from auto_deployment.common.spark_packages import missing

log = logging.getLogger(__name__)

ENV_FILE = Path(".env")
# What the stack's init has made for the host side; values that are given win.
SECRETS = Path(".secrets/host")


class SettingsGroup(BaseSettings):
    """How every group is read."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        env_file=ENV_FILE,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it would show the secrets
    )


class DataSettings(SettingsGroup):
    """The data folder, and the limits of a valid line."""

    data_dir: Path = Field(Path("data"), description="tables, quarantine and model")
    rating_min: float = Field(1.0, description="lowest rating of the scale")
    rating_max: float = Field(5.0, gt=0, description="highest rating of the scale")
    user_id_max: int = Field(1_999_999, ge=1, lt=2**63, description="a higher user id is damage (a digit too many)")
    max_reject_share: float = Field(0.05, ge=0, le=1, description="a larger share of rejects in a collection refuses the run")

    @model_validator(mode="after")
    def _scale_has_a_range(self) -> Self:
        if not self.rating_min < self.rating_max:
            raise ValueError(f"RATING_MIN ({self.rating_min:g}) must be below RATING_MAX ({self.rating_max:g})")
        return self

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest rating."""
        return self.rating_min, self.rating_max


class TrainingSettings(DataSettings):
    """Training, ranking and the gate, on the data."""

    trainer: Literal["surprise", "sgd", "spark", "auto"] = Field(
        "surprise", description="what predicts the rating; sgd: the fast one; auto: surprise or sgd, by size"
    )
    spark_master: str = Field(
        "local[*]", pattern=r"^(local(\[[\d*,]+\])?|(spark|k8s)://\S+|yarn)$", description="where TRAINER=spark runs"
    )
    ranker: Literal["auto", "popularity", "svd", "ease", "als", "blend"] = Field(
        "auto", description="what ranks; auto: the best one inside the data"
    )
    rmse_limit: float = Field(1.0, gt=0, description="the gate's limit, for a scale of 1 to 5; it scales with the range")
    random_state: int = Field(0, ge=0, lt=2**32, description="seed of the training")
    champion_loss: Literal["refuse", "warn"] = Field("refuse", description="what a loss against the recipe in service does")
    explore_share: float = Field(0.0, ge=0, le=1, description="share of answers in which a late place explores")
    fresh: bool = Field(default=False, description="whether a version keeps what lists of new events are computed from")
    latest_films: int = Field(50, ge=5, description="of a very large table: each user's latest films that training takes")
    memory_gb: float = Field(
        default_factory=available_gb, gt=0, description="a run's peak of memory; unset: three quarters of machine or cgroup"
    )

    @model_validator(mode="after")
    def _spark_is_there(self) -> Self:
        if self.trainer == "spark" and (problem := missing()) is not None:
            raise ValueError(f"TRAINER: {problem}")
        return self


class KafkaSettings(TopicSettings, SettingsGroup):
    """The stream's topic, and how a collection reads it."""

    collect_minutes: float = Field(15.0, gt=0, description="a collection ends after so long, at a block's edge")
    collect_from: str = Field(
        "earliest", pattern=r"^(earliest|latest|minutes:\d{1,6})$", description="where the very first collection starts"
    )
    kafka_client: Literal["kafka-python", "confluent-kafka"] = Field("kafka-python", description="the library that reads it")

    def collect_begin(self, now: float) -> str:
        """Where the very first collection starts, for `TopicSource`; `now` in seconds since 1970."""
        kind, _, minutes = self.collect_from.partition(":")
        return str(int((now - 60 * int(minutes)) * 1000)) if kind == "minutes" else kind


class PublishSettings(SettingsGroup):
    """Where versions are published."""

    git_remote: str = Field("origin", description="where versions are pushed")
    git_branch: str = Field("main", description="the branch that versions are committed to")
    dvc_remote: str = Field("local", description="where data and models are pushed")
    keep_models: int = Field(30, ge=1, description="models of so many last versions stay in the DVC remote")


class HostDatabaseSettings(DatabaseSettings, SettingsGroup):
    """The database, with the account in `.secrets/host` where the settings name none."""

    mysql_user: str | None = Field(None, description="unset, and not in .secrets/host either: there is no database")

    @model_validator(mode="before")
    @classmethod
    def _login_from_files(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Fill in user and password from files, the password only with the user that it belongs to."""
        values = dict(given)
        user_file, password_file = SECRETS / "mysql_user", SECRETS / "mysql_password"
        try:
            if values.get("mysql_password") is None and values.get("mysql_password_file"):
                values["mysql_password"] = read_secret(Path(values["mysql_password_file"]))
            user = read_secret(user_file) if user_file.exists() else None
            if user is not None and values.setdefault("mysql_user", user) == user and password_file.exists():
                values.setdefault("mysql_password", read_secret(password_file))
        except SecretError as error:
            raise ValueError(str(error)) from error
        return values

    @model_validator(mode="after")
    def _user_has_a_password(self) -> Self:
        if self.mysql_user and self.mysql_password is None:
            raise ValueError("MYSQL_PASSWORD: is missing, but MYSQL_USER is set")
        return self

    @property
    def database_url(self) -> str | None:
        """The database as a SQLAlchemy URL, password and all; None where there is none."""
        if self.provenance_url is not None:
            return self.provenance_url.get_secret_value()
        if self.mysql_user is None or self.mysql_password is None:
            return None
        password = self.mysql_password.get_secret_value()
        return mysql_url(self.mysql_host, self.mysql_port, self.mysql_database, self.mysql_user, password)


class ScheduleSettings(SettingsGroup):
    """When the scheduler starts runs, and how long a run may take."""

    retrain_days: float = Field(2.0, gt=0, le=365, description="days from the start of one full run to the next")
    collect_every_hours: float = Field(6.0, gt=0, le=8760, description="hours between collections, between full runs")
    run_max_hours: float = Field(12.0, gt=0, le=8760, description="a longer run counts as hanging, and is stopped")


class CanarySettings(SettingsGroup):
    """The evidence about a canary, and the limits of its verdict."""

    prometheus_url: str = Field(
        "http://127.0.0.1:9090", pattern=r"^https?://", description="what a release asks for its evidence"
    )
    canary_bake_minutes: float = Field(720.0, gt=0, le=43_200, description="a canary serves so long before it is promoted")
    canary_max_bake_minutes: float = Field(1440.0, gt=0, le=43_200, description="and at most so long where evidence is thin")
    canary_check_seconds: float = Field(60.0, ge=1, le=3600, description="from one check of the evidence to the next")
    canary_max_mean_ms: float = Field(500.0, gt=0, description="the mean time of a canary's answers must be below it")
    canary_min_requests: int = Field(500, ge=1, description="answers and tries that are needed to pass, never to fail")
    canary_max_slowdown: float = Field(1.2, ge=1, description="slower than stable by more than this factor is worse")
    canary_max_error_increase: float = Field(0.005, ge=0, le=1, description="more errors per try than stable by this is worse")
    canary_memory: Literal["off", "judge", "require"] = Field(
        "judge", description="whether a canary with twice stable's memory is worse; require: it must be known"
    )
    canary_watched: Literal["off", "judge", "require"] = Field(
        "off", description="whether a canary whose lists are watched less is worse; require: it must be known"
    )

    @model_validator(mode="after")
    def _a_bake_can_be_extended(self) -> Self:
        if self.canary_max_bake_minutes < self.canary_bake_minutes:
            raise ValueError("CANARY_MAX_BAKE_MINUTES: is below CANARY_BAKE_MINUTES")
        return self


class TelemetrySettings(DataSettings):
    """Where the telemetry is kept, and for how long."""

    telemetry_dir: Path | None = Field(None, description="where telemetry is kept; unset: telemetry in DATA_DIR")
    telemetry_keep_days: int = Field(30, ge=3, le=3650, description="days of the stream that telemetry keeps")
    telemetry_max_gb: float = Field(5.0, gt=0, description="and at most so much of them, the oldest days go first")

    @property
    def telemetry(self) -> Path:
        """The folder of the telemetry."""
        return self.telemetry_dir or self.data_dir.absolute() / "telemetry"


class NotifySettings(SettingsGroup):
    """Mail and Slack."""

    smtp_host: str | None = Field(None, description="the mail server; unset: no mail is sent")
    smtp_port: int = Field(587, ge=1, le=65535, description="its port; 465 means TLS from the first byte")
    smtp_user: str | None = Field(None, description="name at the mail server; unset: no login")
    smtp_password: SecretStr | None = Field(None, description="password at the mail server")
    mail_from: str | None = Field(None, description="the sender's address")
    mail_to: str | None = Field(None, description="the recipients' addresses, separated by commas")
    slack_webhook_url: SecretStr | None = Field(None, description="an incoming webhook; unset: no Slack messages")


class Settings(
    TrainingSettings,
    KafkaSettings,
    PublishSettings,
    HostDatabaseSettings,
    ScheduleSettings,
    CanarySettings,
    TelemetrySettings,
    NotifySettings,
):
    """All settings of the host side. A function takes the group that it needs."""

    user_api_url: str | None = Field(None, pattern=r"^https?://", description="the film service's API; unset: not used")
    app_image: str = Field("movierec-app", pattern=r"^[a-z0-9][a-z0-9._/:-]{0,200}$", description="repository of our images")
    log_dir: Path = Field(Path("logs"), description="the rotating log file's folder")
    keep_images: int = Field(3, ge=0, le=100, description="images of versions that were in service before, for a rollback")
    server_dir: Path | None = Field(None, description="the checkout whose release is in service; unset: this one")


def load_settings(**given: object) -> Settings:
    """The settings of this environment, with `given` ones on top. Raises WrongUseError naming each bad one."""
    try:
        in_file = read_env_file(ENV_FILE) if given.get("_env_file", ENV_FILE) else {}
        for warning in (unknown_names(ENV_FILE, in_file), ignored_names(in_file, os.environ)):
            if warning:
                log.warning("%s", warning)
        return Settings(**given)  # type: ignore[arg-type]
    except EnvFileError as error:
        raise WrongUseError(str(error)) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])).upper() or 'settings'}: {item['msg']}" for item in error.errors()]
        raise WrongUseError("; ".join(problems)) from error
