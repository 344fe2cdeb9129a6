from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.env_file import read_env_file, unknown_names
from app.events import Rules, rules_of
from app.provenance import mysql
from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.settings import load_settings

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without a `.env` of its own."""
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_the_defaults_hold() -> None:
    """Those of the contract."""
    settings = load_settings()
    assert (settings.rating_min, settings.rating_max, settings.max_reject_share) == (1.0, 5.0, 0.05)
    assert (settings.trainer, settings.ranker, settings.rmse_limit, settings.random_state) == ("surprise", "auto", 1.0, 0)
    assert settings.data_dir == Path("data")
    assert settings.scale == (1.0, 5.0)
    assert rules_of(settings) == Rules(1.0, 5.0, 1_999_999)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of the settings, and reaches what is made of them."""
    for name, value in {
        "RATING_MIN": "0.5",
        "RATING_MAX": "10",
        "USER_ID_MAX": "7",
        "DATA_DIR": "/else",
        "RANKER": "svd",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert rules_of(settings) == Rules(0.5, 10.0, 7)
    assert settings.scale == (0.5, 10.0)
    assert (settings.data_dir, settings.ranker) == (Path("/else"), "svd")


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` is read where the run stands; what is given wins over both; an empty value is none; others are left alone."""
    Path(".env").write_text("RMSE_LIMIT=0.9\nRANDOM_STATE=3\nTRAINER=\nSOMETHING_ELSE=1\n# RATING_MAX=9\n")
    monkeypatch.setenv("RANDOM_STATE", "4")
    settings = load_settings(data_dir=Path("given"))
    assert (settings.rmse_limit, settings.random_state, settings.data_dir) == (0.9, 4, Path("given"))
    assert (settings.trainer, settings.rating_max) == ("surprise", 5.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("RMSE_LIMIT", value) for value in ("one", "0", "-1", "nan", "inf")),
        *(("RATING_MIN", value) for value in ("low", "5", "6", "nan", "-inf")),
        *(("RATING_MAX", value) for value in ("high", "1", "0", "inf")),
        *(("USER_ID_MAX", value) for value in ("many", "0", "1.5", "9223372036854775808")),
        *(("MAX_REJECT_SHARE", value) for value in ("few", "-0.1", "1.1", "5%")),
        *(("RANDOM_STATE", value) for value in ("seed", "-1", "4294967296")),
        ("TRAINER", "mine"),
        ("RANKER", "best"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """One line with the variable's name, as wrong use."""
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongUseError) as raised:
        load_settings()
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["0", "-0.5"])
def test_a_scale_ends_above_zero(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A rating is a share of the highest one; the lowest may be below."""
    monkeypatch.setenv("RATING_MIN", "-1")
    monkeypatch.setenv("RATING_MAX", value)
    with pytest.raises(WrongUseError, match=r"RATING_MAX: .*greater than 0"):
        load_settings()
    monkeypatch.setenv("RATING_MAX", "0.5")
    assert load_settings().scale == (-1.0, 0.5)


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody mends one to be told of the next."""
    monkeypatch.setenv("RMSE_LIMIT", "one")
    monkeypatch.setenv("TRAINER", "mine")
    with pytest.raises(WrongUseError, match=r"TRAINER: .*; RMSE_LIMIT: "):
        load_settings()


def test_settings_do_not_change_under_way() -> None:
    """They are what the run began with."""
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.random_state = 1  # type: ignore[misc]


def test_there_is_a_database_where_there_is_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a URL whose parts are quoted; another URL wins; without a user there is none."""
    assert load_settings().database_url is None
    monkeypatch.setenv("MYSQL_USER", "me@home")
    monkeypatch.setenv("MYSQL_PASSWORD", "a/b:c")
    assert load_settings().database_url == "mysql+mysqlconnector://me%40home:a%2Fb%3Ac@127.0.0.1:3306/movierec"
    monkeypatch.setenv("PROVENANCE_URL", "sqlite:///x")
    assert load_settings().database_url == "sqlite:///x"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "paper://me:s3cret@host/x",
        "postgresql://me:s3cret@host/x",
        "mysql://me:s3cret@host/x",
        "mysql+nodriver://me:s3cret@host/x",
        "mysql+mysqlconnector://me:s3cret@/x",
        "mysql+mysqlconnector://me:s3cret@:3306/x",
        "mysql+mysqlconnector://me:s3cret@host",
        "mysql+mysqlconnector://me:s3cret@host:s3cret/x",
        "mysql+mysqlconnector://me:s3cret@host:99999/x",
        "mysql+pymysql://me:s3cret@/x",
        "sqlite://x.sqlite",
    ],
)
def test_a_url_that_names_no_usable_database_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """By the setting's name, before a run begins, and with nothing of the URL."""
    monkeypatch.setenv("PROVENANCE_URL", url)
    with pytest.raises(
        WrongUseError, match=r"PROVENANCE_URL: .*mysql\+mysqlconnector://USER:PASSWORD@HOST:PORT/DATABASE"
    ) as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("options", ["ssl_disabled=true", "charset=utf8mb4&s3cret=1"])
def test_an_option_that_is_not_the_urls_to_choose_is_refused(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    """TLS and limits of time hold for every connection; an unknown option would be a crash at the first connection."""
    monkeypatch.setenv("PROVENANCE_URL", f"mysql+mysqlconnector://me:s3cret@host/x?{options}")
    with pytest.raises(WrongUseError, match=r"PROVENANCE_URL: .*can only be charset, collation") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["mysql+mysqlconnector://me:x@nowhere.invalid:1/d", "sqlite:///no/such/folder/x"])
def test_a_database_that_is_away_is_no_reason_to_refuse(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Nobody is asked: rows wait until it is back."""
    monkeypatch.setenv("PROVENANCE_URL", url)
    assert load_settings().database_url == url


@pytest.mark.parametrize(
    ("given", "used", "ignored"),
    [
        ("me:p%40ss@db:3307/x", "me:p%40ss@db:3307/x", ""),
        ("me:p%40ss@db/x?charset=utf8mb4", "me:p%40ss@db/x?charset=utf8mb4", ""),
        (
            "me:p%40ss@db/x?ssl_ca=/s3cret&charset=utf8mb4&read_timeout=3&unix_socket=/run/s",
            "me:p%40ss@db/x?charset=utf8mb4",
            ", without its options read_timeout, ssl_ca, unix_socket",
        ),
    ],
)
def test_a_url_of_the_former_driver_is_used_as_the_new_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: str, used: str, ignored: str
) -> None:
    """With one warning, however often the settings are read; what the new driver does not take is named, no value is."""
    mysql._warn_of_former_driver.cache_clear()
    monkeypatch.setenv("PROVENANCE_URL", f"mysql+pymysql://{given}")
    assert load_settings().database_url == load_settings().database_url == f"mysql+mysqlconnector://{used}"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"PROVENANCE_URL: mysql+pymysql is the former driver; the URL is used as mysql+mysqlconnector{ignored}: change it",
        )
    ]


def in_files(user: str | None, password: str | None) -> None:
    """What the stack's init has made for the host side."""
    folder = Path(".secrets/host")
    folder.mkdir(parents=True)
    for name, content in (("mysql_user", user), ("mysql_password", password)):
        if content is not None:
            (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("given", "login"),
    [
        ({}, "movierec_host:from file"),
        ({"MYSQL_USER": "movierec_host"}, "movierec_host:from file"),
        ({"MYSQL_PASSWORD": "given"}, "movierec_host:given"),
        ({"MYSQL_USER": "me", "MYSQL_PASSWORD": "given"}, "me:given"),
        ({"MYSQL_PASSWORD_FILE": "elsewhere"}, "movierec_host:else"),
        ({"MYSQL_PASSWORD": "given", "MYSQL_PASSWORD_FILE": "elsewhere"}, "movierec_host:given"),
    ],
)
def test_what_is_not_given_comes_from_the_stacks_files(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], login: str
) -> None:
    """User and password; whatever is given wins."""
    in_files("movierec_host\n", "from file\n")
    Path("elsewhere").write_text("else\n")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings().database_url == f"mysql+mysqlconnector://{login}@127.0.0.1:3306/movierec"


@pytest.mark.parametrize(
    ("user", "password", "given", "named"),
    [
        ("", "x", {}, "mysql_user: the file is empty"),
        ("me", "", {}, "mysql_password: the file is empty"),
        ("me", "\n", {}, "mysql_password: the file is empty"),
        ("me", None, {}, "MYSQL_PASSWORD: is missing"),
        ("me", "x", {"MYSQL_USER": "other"}, "MYSQL_PASSWORD: is missing"),
        (None, None, {"MYSQL_USER": "me", "MYSQL_PASSWORD_FILE": "nowhere"}, "nowhere: the secret cannot be read"),
    ],
)
def test_a_file_that_is_no_good_is_named(
    monkeypatch: pytest.MonkeyPatch, user: str | None, password: str | None, given: dict[str, str], named: str
) -> None:
    """Empty, missing beside a user, or another user's."""
    in_files(user, password)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongUseError, match=named):
        load_settings()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the settings as text nor in what is wrong with them."""
    secrets = {
        "MYSQL_PASSWORD": "s3cret",
        "PROVENANCE_URL": "mysql+mysqlconnector://a:s3cret-b@h/d",
        "SLACK_WEBHOOK_URL": "s3cret-c",
    }
    for name, value in {**secrets, "MYSQL_USER": "me", "SMTP_PASSWORD": "s3cret-d"}.items():
        monkeypatch.setenv(name, value)
    assert "s3cret" not in repr(load_settings())
    for name in ("RATING_MIN", "MYSQL_PORT"):
        monkeypatch.setenv(name, "99999999")
    with pytest.raises(WrongUseError) as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(("expected", "begin"), [("earliest", "earliest"), ("latest", "latest"), ("minutes:30", "8200000")])
def test_the_first_collection_begins_where_the_setting_says(monkeypatch: pytest.MonkeyPatch, expected: str, begin: str) -> None:
    """At an end of the topic, or so many minutes ago, in milliseconds."""
    monkeypatch.setenv("COLLECT_FROM", expected)
    assert load_settings().collect_begin(10_000.0) == begin


@pytest.mark.parametrize("server", ["host", "host:", "host:x", "http://host:9092", "a:1,b", "a:1,,b:2"])
def test_a_broker_has_a_port(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """Each of several."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", server)
    with pytest.raises(WrongUseError, match=r"KAFKA_BOOTSTRAP_SERVERS: .*host:port"):
        load_settings()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1, b.c:9092")
    assert load_settings().kafka_bootstrap_servers == "a:1,b.c:9092"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"MYSQL_USER": "me"}, ["MYSQL_PASSWORD: is missing"]),
        (
            {"KAFKA_SECURITY_USER": "me"},
            ["KAFKA_SECURITY_PASSWORD: is missing", "KAFKA_SECURITY_PROTOCOL: must be SASL_PLAINTEXT or SASL_SSL"],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            ["KAFKA_SECURITY_USER: is missing", "KAFKA_SECURITY_MECHANISM: is missing"],
        ),
        ({"KAFKA_SECURITY_CA_FILE": "ca.pem"}, ["KAFKA_SECURITY_PROTOCOL: must be SSL or SASL_SSL"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SECURITY_CERT_FILE": "ca.pem"}, ["KAFKA_SECURITY_KEY_FILE: is missing"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SECURITY_KEY_FILE": "ca.pem"}, ["KAFKA_SECURITY_CERT_FILE: is missing"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SECURITY_CA_FILE": "no.pem"}, ["KAFKA_SECURITY_CA_FILE: "]),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, ["KAFKA_SECURITY_PROTOCOL: "]),
        ({"KAFKA_CLIENT": "mine"}, ["KAFKA_CLIENT: "]),
        ({"COLLECT_FROM": "yesterday"}, ["COLLECT_FROM: "]),
        ({"SMTP_PORT": "0"}, ["SMTP_PORT: "]),
    ],
)
def test_settings_that_belong_together_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: list[str]
) -> None:
    """A missing secret, user, key or protocol is named by its variable."""
    Path("ca.pem").touch()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongUseError) as raised:
        load_settings()
    assert [name for name in named if name not in str(raised.value)] == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"# Schl\xfcssel\nRMSE_LIMIT=1\n", "line 1 is not UTF-8"),
        (b"A=1\r\nB=\xc3\xa4\r\n\r\nC=\xe4\r\n", "line 4 is not UTF-8"),
        ("RMSE_LIMIT=1\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("RMSE_LIMIT=1\n".encode("utf-16-le"), "line 1 is not UTF-8"),
        (b'SMTP_HOST="mail.example.org\nRMSE_LIMIT=0.5\n', "line 1 cannot be read"),
        (b"# one\n\n\nRMSE_LIMIT: 0.5\n", "line 4 cannot be read"),
        (b"RMSE_LIMIT=1\r\nKAFKA_TOPIC\r\n\r\nSMTP_PASSWORD 's3cret'\r\n", "lines 2, 4 cannot be read"),
    ],
)
def test_an_env_file_that_cannot_be_read_is_refused_with_the_line(content: bytes, problem: str) -> None:
    """Of another encoding, or with a line that is no setting; the error shows nothing of the file."""
    Path(".env").write_bytes(content)
    with pytest.raises(WrongUseError, match=rf"^\.env: {problem}") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfRMSE_LIMIT=0.5\n", b"\r\n# \xc3\xa4\r\nexport RMSE_LIMIT='0.5' # low\r\n", b"RMSE_LIMIT=0.5"]
)
def test_an_env_file_of_any_editor_is_read(content: bytes) -> None:
    """UTF-8 with a mark at its beginning, lines of Windows, no line end."""
    Path(".env").write_bytes(content)
    assert load_settings().rmse_limit == 0.5


def test_an_unknown_name_in_the_env_file_gets_a_warning_with_the_nearest_known(caplog: pytest.LogCaptureFixture) -> None:
    """One warning for all: names that begin like a setting, or are nearly one. Names of other programs are left alone."""
    shutil.copyfile(ROOT / ".env.example", ".env.example")
    Path(".env").write_text("KAFKA_TOPC=a\nRMSELIMIT=1\nMAIL_CC=b\nrmse_limit=0.5\nGIT_SSH_COMMAND=ssh\nHTTP_PROXY=c\nPATH=d\n")
    assert load_settings().rmse_limit == 0.5
    (record,) = caplog.records
    nearest = "KAFKA_TOPC (did you mean KAFKA_TOPIC?); RMSELIMIT (did you mean RMSE_LIMIT?); MAIL_CC"
    assert record.getMessage().startswith(f".env: unknown setting, without effect: {nearest}")


def test_names_without_effect_get_one_warning(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed settings of the file and of the environment, and variables of images in the file, in whatever case."""
    shutil.copyfile(ROOT / ".env.example", ".env.example")
    Path(".env").write_text("USER_API_SECONDS=nonsense\ncanary_min_watched=2\nSHIP_BATCH=7\nRMSE_LIMIT=0.5\n")
    monkeypatch.setenv("JOURNAL_SEGMENT_MB", "0")
    monkeypatch.setenv("BIND", "127.0.0.1:1")
    assert load_settings().rmse_limit == 0.5
    (record,) = caplog.records
    found = "CANARY_MIN_WATCHED, JOURNAL_SEGMENT_MB, SHIP_BATCH, USER_API_SECONDS"
    assert record.getMessage() == f"no setting, without effect: {found}: remove it, see docs/configuration.md"


def test_no_name_of_the_example_is_unknown() -> None:
    """The example with every line in force is read, and each of its names is known."""
    text = (ROOT / ".env.example").read_text()
    Path(".env.example").write_text(text)
    Path(".env").write_text(re.sub("^# (?=[A-Z0-9_]+=)", "", text, flags=re.MULTILINE))
    names = read_env_file(Path(".env"))
    assert len(names) > 70
    assert unknown_names(Path(".env"), names) == ""
