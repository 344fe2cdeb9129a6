"""The settings of our containers. Frozen models read them from the environment and check them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.provenance import SecretError, checked_url, mysql_url, read_secret


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. An IPv6 address is in brackets. Raises ValueError for any other text."""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("not HOST:PORT with a port up to 65535")
    if bracketed != (":" in host) or "[" in host or "]" in host:
        raise ValueError("write an IPv6 address, and no other host, in brackets: [::1]:5000")
    return host, int(port)


def _checked_address(text: str) -> str:
    host_and_port(text)
    return text


def _checked_addresses(text: str) -> str:
    return ",".join(_checked_address(address.strip()) for address in text.split(","))


DATABASE_NAME = r"^[A-Za-z0-9_]{1,64}$"
Address = Annotated[str, AfterValidator(_checked_address)]
Addresses = Annotated[str, AfterValidator(_checked_addresses)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(checked_url)]


class ServiceSettings(BaseSettings):
    """Settings of one service. A wrong value stops the start with the setting's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    model_dir: Path = Field(Path("data/model"), description="the artifact that is served")
    service: str = Field("stable-1", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="this service's name")
    track: Literal["stable", "canary"] = Field("stable", description="the track in headers, metrics and provenance")
    track_file: Path | None = Field(None, description="a file with the track, which may change while the service runs")
    bind: Addresses = Field("0.0.0.0:5000", description="address and port of the answers, several joined by commas")
    metrics_bind: Address = Field("0.0.0.0:9100", description="address and port of /metrics")
    workers: int = Field(2, ge=1, le=64, description="Gunicorn worker processes")
    run_dir: Path = Field(Path("run"), description="metric files of the running workers; emptied at start")
    journal_dir: Path | None = Field(None, description="where answers are journalled; unset: they are not, and it says so")
    journal_max_mb: int = Field(1024, ge=1, description="bound of one service's journals, in MiB")
    request_log: bool = Field(True, description="one JSON line on standard output for each request")
    metrics: bool = Field(True, description="Prometheus metrics")
    fresh: bool = Field(default=False, description="whether answers follow what is new of users; needs FRESH_DIR")
    fresh_dir: Path | None = Field(None, description="the folder that app.fresh writes")


class TopicSettings(BaseSettings):
    """The topic of the stream, and how its broker is reached."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    kafka_bootstrap_servers: str | None = Field(None, description="the broker, host:port, several joined by commas")
    kafka_topic: str = Field("movielog4", pattern=r"^[A-Za-z0-9._-]{1,249}$", description="the stream's topic")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] | None = Field(
        None, description="how the broker is spoken to; unset: PLAINTEXT"
    )
    kafka_security_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="how the user logs in, with SASL_*"
    )
    kafka_security_user: str | None = Field(None, description="name at the broker, with SASL_*")
    kafka_security_password: SecretStr | None = Field(None, description="password at the broker")
    kafka_security_ca_file: FilePath | None = Field(None, description="authorities to trust, in PEM; unset: the system's")
    kafka_security_cert_file: FilePath | None = Field(None, description="our own certificate, in PEM")
    kafka_security_key_file: FilePath | None = Field(None, description="its private key, in PEM, not encrypted")

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers_have_ports(cls, given: str | None) -> str | None:
        servers = [server.strip() for server in (given or "").split(",")]
        if given is not None and not all(re.fullmatch(r"[^\s/]+:\d{1,5}", server) for server in servers):
            raise ValueError("give host:port, several joined by commas")
        return given and ",".join(servers)

    @model_validator(mode="after")
    def _security_is_consistent(self) -> Self:
        protocol = self.kafka_security_protocol or "PLAINTEXT"
        login, tls = protocol.startswith("SASL"), protocol.endswith("SSL")
        user, password = self.kafka_security_user, self.kafka_security_password
        certificate, key = self.kafka_security_cert_file, self.kafka_security_key_file
        problems = {
            "KAFKA_SECURITY_PASSWORD: is missing, but KAFKA_SECURITY_USER is set": user and password is None,
            f"KAFKA_SECURITY_USER: is missing, but KAFKA_SECURITY_PROTOCOL is {protocol}": login and not user,
            f"KAFKA_SECURITY_MECHANISM: is missing, but KAFKA_SECURITY_PROTOCOL is {protocol}": (
                login and self.kafka_security_mechanism is None
            ),
            "KAFKA_SECURITY_PROTOCOL: must be SASL_PLAINTEXT or SASL_SSL with KAFKA_SECURITY_USER": user and not login,
            "KAFKA_SECURITY_PROTOCOL: must be SSL or SASL_SSL with KAFKA_SECURITY_CA_FILE, _CERT_FILE or _KEY_FILE": (
                not tls and (self.kafka_security_ca_file or certificate or key)
            ),
            "KAFKA_SECURITY_KEY_FILE: is missing, but KAFKA_SECURITY_CERT_FILE is set": certificate and not key,
            "KAFKA_SECURITY_CERT_FILE: is missing, but KAFKA_SECURITY_KEY_FILE is set": key and not certificate,
        }
        if found := [problem for problem, there in problems.items() if there]:
            raise ValueError("; ".join(found))
        return self


# What init makes for `app.fresh`, by file, and the setting that each stands for.
SECRET_FILES = {
    "password": "kafka_security_password",
    "ca.pem": "kafka_security_ca_file",
    "cert.pem": "kafka_security_cert_file",
    "key.pem": "kafka_security_key_file",
}


class FreshSettings(TopicSettings):
    """Settings of `python -m app.fresh`. It follows a file or the topic."""

    model_dir: Path = Field(Path("data/model"), description="the artifact of the version, with its fresh part")
    fresh_dir: Path = Field(description="the folder for what is new of each user")
    follow_file: Path | None = Field(None, description="a file whose new lines count at once, instead of the topic's")
    follow_from: int = Field(0, ge=0, description="bytes of the file that are in the version's data")
    kafka_secrets_dir: Path | None = Field(None, description="a folder with what the broker asks for, see SECRET_FILES")
    checkpoint_seconds: float = Field(
        300.0, gt=0, le=86_400, description="a restart reads the lines of the last so many seconds again"
    )
    heartbeat_file: Path | None = Field(None, description="touched while the process follows, or waits for another one")

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, given: dict[str, Any]) -> dict[str, Any]:
        values = dict(given)
        for name, setting in SECRET_FILES.items():
            path = Path(values.get("kafka_secrets_dir") or "/nonexistent") / name
            if values.get(setting) is None and path.exists():
                try:
                    values[setting] = path if path.suffix == ".pem" else read_secret(path)
                except SecretError as error:
                    raise ValueError(str(error)) from error
        return values

    @model_validator(mode="after")
    def _there_is_a_source(self) -> Self:
        if (self.follow_file is None) == (self.kafka_bootstrap_servers is None):
            raise ValueError("set one of KAFKA_BOOTSTRAP_SERVERS and FOLLOW_FILE: new lines come from there")
        return self


class MysqlSettings(BaseSettings):
    """Where MySQL answers, and the name of our database."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    mysql_host: str = Field("127.0.0.1", description="the database's host")
    mysql_port: int = Field(3306, ge=1, le=65535, description="its port")
    mysql_database: str = Field("movierec", pattern=DATABASE_NAME, description="its name")


class DatabaseSettings(MysqlSettings):
    """The database of answers and versions, and the account of the program that opens it."""

    provenance_url: DatabaseUrl | None = Field(None, description="the database as a SQLAlchemy URL, instead of MYSQL_*")
    mysql_user: str | None = Field(None, description="the user")
    mysql_password: SecretStr | None = Field(None, description="the user's password")
    mysql_password_file: Path | None = Field(None, description="the file that holds it")


class ShipperSettings(DatabaseSettings):
    """Settings of the shipper. `PROVENANCE_URL` or `MYSQL_*` name the database."""

    journal_dir: Path = Field(description="the folder that holds one folder of journals for each service")
    ship_batch: int = Field(2000, ge=1, le=100_000, description="rows in one transaction")
    ship_seconds: float = Field(0.5, gt=0, le=60, description="pause between reads of the journals")
    ship_end_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="at the end, how long attempts that fail are repeated: for journals that end with the shipper",
    )
    heartbeat_file: Path | None = Field(None, description="touched at each read of the journals, and after each batch")
    shipper_metrics_bind: Address | None = Field(None, description="address and port of its /metrics; unset: none")

    @model_validator(mode="after")
    def _there_is_a_database(self) -> Self:
        if self.provenance_url is None and self.mysql_user is None:
            raise ValueError("PROVENANCE_URL: not set, and neither is MYSQL_USER: set one of them, it names the database")
        if self.provenance_url is None and self.mysql_password is None and self.mysql_password_file is None:
            raise ValueError("MYSQL_PASSWORD_FILE: not set, and neither is MYSQL_PASSWORD: MYSQL_USER needs one of them")
        return self

    def database_url(self) -> str:
        """The database as a SQLAlchemy URL with the password. Raises SecretError if the password's file is unusable."""
        return _database_url(self) or ""


class ConsoleSettings(DatabaseSettings):
    """Settings of the console. What is not set, its pages leave out, and say so."""

    metrics_url: str | None = Field(None, pattern=r"^https?://", description="the Prometheus whose metrics are shown")
    release_dir: Path | None = Field(None, description="the folder of releases: `.stack/release` of the checkout that releases")
    versions_dir: Path | None = Field(None, description="the folder of the versions' reports: `data/versioning`")
    console_dir: Path | None = Field(
        None, description="the folder that the host side writes for the console: `LOG_DIR/console`"
    )
    console_hosts: str | None = Field(None, description="more names of the console in a Host header, separated by commas")

    def database_url(self) -> str | None:
        """The database as a SQLAlchemy URL with the password; None without one. Raises SecretError."""
        return _database_url(self)


class MigrateSettings(MysqlSettings):
    """Settings of `python -m app.migrate` and `app.restore`. No other program has the password of MySQL's root."""

    mysql_root_password_file: Path = Field(description="the file with the password of MySQL's root")
    service_password_file: Path = Field(description="the file with the password that movierec_service gets")
    host_password_file: Path = Field(description="the file with the password that movierec_host gets")
    migrate_seconds: float = Field(120.0, gt=0, le=3600, description="how long a database that is starting is waited for")
    provenance_keep_days: int = Field(90, ge=1, le=3650, description="answers are kept for so many days")
    provenance_max_gb: float = Field(20.0, gt=0, le=1_000_000, description="and at most so many GB of them (10^9 bytes)")
    model_dir: Path = Field(Path("data/model"), description="the artifact whose version is tracked")
    console_password_file: Path | None = Field(None, description="the file with the password that movierec_console gets")


def _database_url(settings: DatabaseSettings) -> str | None:
    if settings.provenance_url is not None:
        return settings.provenance_url.get_secret_value()
    if settings.mysql_user is None:
        return None
    secret = settings.mysql_password
    password = secret.get_secret_value() if secret else read_secret(settings.mysql_password_file or Path())
    return mysql_url(settings.mysql_host, settings.mysql_port, settings.mysql_database, settings.mysql_user, password)


def settings_problem(error: Exception) -> str:
    """The text of an error in one line. A ValidationError's text names each setting by its environment variable."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(_problem(".".join(map(str, item["loc"])).upper(), item["msg"]) for item in error.errors())


def _problem(name: str, message: str) -> str:
    """A check of several settings has no name, so its message begins with the name of one setting."""
    return f"{name}: {message}" if name else message.removeprefix("Value error, ")
