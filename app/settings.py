"""What a serving container is told by its environment, as one frozen, typed object."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


def _host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("not HOST:PORT with a port up to 65535")
    return text


Address = Annotated[str, AfterValidator(_host_and_port)]


class ServiceSettings(BaseSettings):
    """Settings of one service. A value of the wrong type stops the start with the setting's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    model_dir: Path = Field(Path("data/model"), description="the artifact that is served")
    service: str = Field("stable-1", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="this service's name")
    track: Literal["stable", "canary"] = Field("stable", description="the track in headers, metrics and provenance")
    bind: Address = Field("0.0.0.0:5000", description="address and port of the answers")
    metrics_bind: Address = Field("0.0.0.0:9100", description="address and port of /metrics")
    workers: int = Field(2, ge=1, le=64, description="Gunicorn worker processes")
    run_dir: Path = Field(Path("run"), description="metric files of the running workers; emptied at start")
    journal_dir: Path | None = Field(None, description="where answers are journalled; unset: they are not, and it says so")
    journal_max_mb: int = Field(1024, ge=1, description="bound of one service's journals, in MiB")
    journal_segment_mb: int = Field(8, ge=1, le=1024, description="size at which a worker begins a new journal, in MiB")
    request_log: bool = Field(True, description="one JSON line on standard output for each request")
    metrics: bool = Field(True, description="Prometheus metrics")


class ShipperSettings(BaseSettings):
    """Settings of the process that moves journalled answers to the database."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    journal_dir: Path = Field(description="the folder that holds one folder of journals for each service")
    provenance_url: str = Field(description="the database, as a SQLAlchemy URL")
    ship_batch: int = Field(2000, ge=1, le=100_000, description="rows in one transaction")
    ship_seconds: float = Field(0.5, gt=0, le=60, description="pause between looks at the journals")


def settings_problem(error: ValidationError) -> str:
    """What is wrong with the settings, in one line that names each by its environment variable."""
    return "; ".join(f"{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors())
