from __future__ import annotations

import json
import logging
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from auto_deployment.common.logs import FILE, KEPT, LEVELS, MASK, Redactor, RotatingLog, configure, secrets_of, shut
from auto_deployment.common.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) +run-7 [\w.]+: .*")
SECRET = "s3cr3t/p@ss w'rd+\\ü"  # noqa: S105 - of nothing
WEBHOOK = "https://hooks.example/services/T000AAAA/B000BBBB/zyxwvuts98765"
DAY = 24 * 3600.0
log = logging.getLogger("auto_deployment.test_logs")


class Logged:
    """What a configured log wrote."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._captured = captured
        self._console = ""

    def file(self) -> list[str]:
        """The lines of the file."""
        return (self.folder / FILE).read_text(encoding="utf-8").splitlines()

    def console(self) -> list[str]:
        """The lines on standard error."""
        self._console += self._captured.readouterr().err
        return self._console.splitlines()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A configuration is taken back."""
    yield
    shut()


@pytest.fixture
def logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Logged:
    """A log in a folder that does not exist before, with two secrets to mask."""
    configure(tmp_path / "new" / "logs", "run-7", logging.WARNING, [SECRET, WEBHOOK])
    return Logged(tmp_path / "new" / "logs", capsys)


def test_every_line_has_a_time_in_utc_a_level_and_the_run_id(logged: Logged) -> None:
    """Of a message of several lines, of an empty one and of a traceback too."""
    log.info("one\ntwo\r\nthree\u2028four")
    log.debug("")
    fail("it went wrong")
    lines = logged.file()
    assert len(lines) > 8
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert [line.split(": ")[1] for line in lines[:4]] == ["one", "two", "three", "four"]


def fail(text: str) -> None:
    """Log an exception."""
    try:
        raise_with(f"bad\nvalue {text}")
    except ValueError:
        log.exception("a step failed: %s", text)


def raise_with(text: str) -> None:
    """Fail."""
    raise ValueError(text)


def test_the_console_shows_an_error_as_one_line_and_the_file_its_traceback(logged: Logged) -> None:
    """Whoever watches reads what happened; who looks for the cause finds it."""
    fail("here")
    (line,) = logged.console()
    assert LINE.fullmatch(line)
    assert line.endswith("a step failed: here: ValueError: bad value here")
    assert any("Traceback (most recent call last)" in line for line in logged.file())
    assert any("raise ValueError" in line for line in logged.file())


def test_levels_choose_what_is_shown(logged: Logged) -> None:
    """The file has all of ours, the console what it was configured for; chatty libraries tell of warnings."""
    log.debug("ours, detailed")
    log.info("ours")
    logging.getLogger("some.library").debug("theirs, detailed")
    logging.getLogger("some.library").info("theirs")
    logging.getLogger("urllib3.pool").info("noise")
    logging.getLogger("urllib3.pool").warning("trouble")
    assert [line.rsplit(": ", 1)[1] for line in logged.file()] == ["ours, detailed", "ours", "theirs", "trouble"]
    assert [line.rsplit(": ", 1)[1] for line in logged.console()] == ["trouble"]


def test_what_comes_from_outside_cannot_drive_a_terminal(logged: Logged) -> None:
    """Escape sequences are shown, not obeyed."""
    log.warning("\x1b[2J\x07gone\x9b")
    assert logged.console()[0].endswith(": \\x1b[2J\\x07gone\\x9b")


def test_a_line_that_cannot_be_made_is_said_without_its_arguments(logged: Logged) -> None:
    """A wrong format costs its line, not the run, and its arguments stay unsaid."""
    for args, text in (((SECRET,), "%d rows"), ((), "after it")):
        record = logging.LogRecord("x", logging.WARNING, "", 0, text, args, None)
        for handler in logging.getLogger().handlers:
            # pytest's own would raise.
            if type(handler).__module__ == "auto_deployment.common.logs":
                handler.handle(record)
    assert [line for line in logged.console() if "a line could not be made: TypeError" in line]
    assert SECRET not in "".join(logged.console() + logged.file())
    assert logged.file()[0].endswith("after it")


@pytest.mark.parametrize("secret", [SECRET, WEBHOOK, WEBHOOK.removeprefix("https://hooks.example"), "zyxwvuts98765"])
def test_no_secret_reaches_a_line(logged: Logged, secret: str) -> None:
    """In a message, an argument, its repr, as JSON, in a traceback and its cause; on the console and in the file."""
    log.error(f"message {secret}")  # noqa: G004 - that is the case
    log.error("argument %s", secret)
    log.error("repr %r, json %s", [secret], json.dumps({"password": secret}))
    try:
        try:
            raise_with(secret)
        except ValueError as error:
            raise RuntimeError(f"because of {secret}") from error
    except RuntimeError:
        log.exception("failed")
    log.warning("stack", stack_info=True)
    written = "\n".join(logged.console() + logged.file())
    assert MASK in written
    assert [form for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]) if form in written] == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("fatal: https://bot:tok3n@git.example/a.git: denied", "fatal: https://***@git.example/a.git: denied"),
        ("https://tok3n@git.example", "https://***@git.example"),
        (
            "mysql+mysqlconnector://me:p%40ss@db:3306/x and ssh://git@host/y",
            "mysql+mysqlconnector://***@db:3306/x and ssh://***@host/y",
        ),
        ("https://u:p@ss@host/a@b", "https://***@host/a@b"),
        ("https://host/path?to=a@b", "https://host/path?to=a@b"),
        ("git@host:path, a@b", "git@host:path, a@b"),
    ],
)
def test_a_url_loses_its_userinfo(text: str, masked: str) -> None:
    """Whether the settings know it or not; what only looks like one stays."""
    assert Redactor()(text) == masked


def test_a_secret_is_masked_in_the_forms_of_a_url() -> None:
    """A password stands quoted in a database's URL, and alone in an error."""
    redact = Redactor(["pa/ss word", "mysql://me:hunter%212@db/movierec"])
    assert redact("pa%2Fss%20word pa%2Fss+word hunter!2 hunter%212") == " ".join([MASK] * 4)
    assert redact("/opt/movierec") == "/opt/movierec"


def test_the_longest_secret_is_masked_first() -> None:
    """A secret that begins like another leaves no end behind."""
    assert Redactor(["abc", "abcdef"])("abcdef abc") == f"{MASK} {MASK}"


@given(st.lists(st.text(min_size=3)), st.text())
def test_no_secret_survives_masking(secrets: list[str], text: str) -> None:
    """Whatever characters it has, regular expressions' own among them."""
    masked = Redactor(secrets)(text + "|".join(secrets))
    assert [secret for secret in secrets if secret not in MASK and secret in masked.replace(MASK, "\0")] == []


def test_without_secrets_a_text_stays() -> None:
    """No secret and an empty one mask nothing."""
    assert Redactor()("a text") == "a text"
    assert Redactor([""])("a text") == "a text"


def test_the_secrets_of_settings_are_those_that_are_typed_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each secret setting that is set, whoever added it."""
    monkeypatch.chdir(tmp_path)  # a checkout whose stack was started has secrets of its own
    settings = Settings(smtp_password=SecretStr("one"), slack_webhook_url=SecretStr("two"))
    assert sorted(secrets_of(settings)) == ["one", "two"]


@pytest.mark.parametrize("blocked", ["", "logs"])
def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], blocked: str) -> None:
    """Then the console is the log."""
    (tmp_path / "file").write_text("in the way")
    configure(tmp_path / "file" / blocked, "run-7")
    log.info("goes on")
    first, second = capsys.readouterr().err.splitlines()
    assert "WARNING" in first
    assert "LOG_DIR" in first
    assert second.endswith("goes on")


def test_a_second_configuration_replaces_the_first(logged: Logged, tmp_path: Path) -> None:
    """Nothing is written twice."""
    configure(tmp_path / "other", "run-8")
    log.warning("once")
    assert logged.file() == []
    assert len((tmp_path / "other" / FILE).read_text().splitlines()) == 1
    assert len(logged.console()) == 1


def rotating(path: Path, max_bytes: int = 1000, kept: int = 3) -> RotatingLog:
    """A small rotating file."""
    handler = RotatingLog(path, max_bytes, DAY, kept)
    formatter = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    return handler


def write(handler: RotatingLog, text: str, created: float = 0.0) -> None:
    """Write a line at a time."""
    record = logging.LogRecord("x", logging.INFO, "", 0, text, None, None)
    record.created = created or record.created
    handler.handle(record)


def contents(folder: Path) -> dict[str, str]:
    """The files and the last word of each of their lines."""
    return {path.name: " ".join(line.split()[-1] for line in path.read_text().splitlines()) for path in folder.iterdir()}


def test_the_file_rolls_at_its_size_and_keeps_so_many(tmp_path: Path) -> None:
    """The newest are kept, and none is longer than the limit in bytes, whatever its characters."""
    handler = rotating(tmp_path / "a.log")
    for number in range(40):
        write(handler, f"{'ü' * 100} {number}")
    handler.close()
    assert set(contents(tmp_path)) == {"a.log", "a.log.1", "a.log.2", "a.log.3"}
    assert contents(tmp_path)["a.log"].endswith("39")
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_the_file_rolls_at_its_age(tmp_path: Path) -> None:
    """A day after its first line, however little it holds."""
    handler = rotating(tmp_path / "a.log")
    for created, text in ((1e9, "one"), (1e9 + DAY - 1, "two"), (1e9 + DAY, "three"), (1e9 + 1.5 * DAY, "four")):
        write(handler, text, created)
    handler.close()
    assert contents(tmp_path) == {"a.log.1": "one two", "a.log": "three four"}


@pytest.mark.parametrize("first", ["2001-09-08T01:46:40.000Z INFO begun", "2003-01-01T00:00:00.000Z INFO clock was wrong"])
def test_the_age_counts_from_the_first_line_the_one_who_wrote_it(tmp_path: Path, first: str) -> None:
    """Processes that live for a minute roll it as well; a first line from the future does not stop that."""
    (tmp_path / "a.log").write_text(f"{first}\n")
    handler = rotating(tmp_path / "a.log")
    write(handler, "today", 1e9)
    handler.close()
    assert contents(tmp_path)["a.log"] == "today"


def test_a_first_line_without_a_time_counts_by_the_last_change(tmp_path: Path) -> None:
    """A foreign file is appended to."""
    (tmp_path / "a.log").write_text("\x00 no time\n")
    handler = rotating(tmp_path / "a.log")
    write(handler, "now")
    handler.close()
    assert contents(tmp_path) == {"a.log": "time now"}


def test_two_writers_share_a_file_over_its_rotations(tmp_path: Path) -> None:
    """The scheduler and its runs write one file: no line goes to an old one, and none is lost."""
    first, second = rotating(tmp_path / "a.log", kept=50), rotating(tmp_path / "a.log", kept=50)
    for number in range(60):
        write(first, f"{'x' * 90} a{number}")
        write(second, f"{'x' * 90} b{number}")
    first.close()
    second.close()
    held = contents(tmp_path)
    newest_first = sorted(held, key=lambda name: int(name[6:] or 0))
    in_order = " ".join(held[name] for name in reversed(newest_first)).split()
    assert in_order == [f"{writer}{number}" for number in range(60) for writer in "ab"]


def test_half_a_character_is_written_all_the_same(tmp_path: Path) -> None:
    """A name that is no UTF-8 does not cost the line."""
    handler = rotating(tmp_path / "a.log")
    write(handler, b"\xff.log".decode(errors="surrogateescape"))
    handler.close()
    assert contents(tmp_path) == {"a.log": "\\udcff.log"}


def test_a_log_that_somebody_removed_is_begun_again(tmp_path: Path) -> None:
    """An operator's clean-up does not silence it."""
    handler = rotating(tmp_path / "a.log")
    write(handler, "one")
    (tmp_path / "a.log").unlink()
    write(handler, "two")
    handler.close()
    assert contents(tmp_path) == {"a.log": "two"}


def test_a_file_that_cannot_be_renamed_grows_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No line is lost, and it is said once."""
    handler = rotating(tmp_path / "a.log", kept=1)
    (tmp_path / "a.log.1" / "in the way").mkdir(parents=True)
    for number in range(20):
        write(handler, f"{'x' * 200} {number}")
    handler.close()
    assert len((tmp_path / "a.log").read_text().splitlines()) == 20
    (output,) = capsys.readouterr().err.splitlines()
    assert "cannot be rotated" in output


def test_a_full_disk_is_said_once_and_without_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What the library prints by default would show the arguments, secrets and all."""
    handler = rotating(Path("/dev/full"))
    write(handler, "hunter2")
    write(handler, "hunter2")
    (output,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in output
    with suppress(OSError):
        handler.close()


def test_defaults_keep_a_fortnight() -> None:
    """10 MiB or a day, 14 old files."""
    assert KEPT == 14


def test_a_configuration_that_is_taken_back_leaves_nothing(tmp_path: Path) -> None:
    """No handler, and the levels that Python has by itself."""
    handlers = list(logging.getLogger().handlers)
    configure(tmp_path, "run-7")
    assert logging.getLogger("auto_deployment").level == logging.DEBUG
    shut()
    assert logging.getLogger().handlers == handlers
    levels = {name: logging.getLogger(name).level for name in LEVELS}
    assert levels == {**dict.fromkeys(LEVELS, logging.NOTSET), "": logging.WARNING}
