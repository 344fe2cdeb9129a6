from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from app.journal import Journal, to_line
from tests.integration.conftest import ROOT, Server, environment, wait_until
from tests.unit.app import samples
from tests.unit.app.crashes import child, rounds
from tests.unit.app.samples import row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WRITE_FOR_EVER = """
import itertools, os, sys, time
from pathlib import Path
from app.journal import Journal, to_line
from tests.unit.app.samples import row
journal = Journal(Path(sys.argv[1]), 1 << 30, 30_000)
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
for number in itertools.count():
    assert journal.append(to_line(row(number)))
    os.pwrite(acknowledged, b"%20d" % (number + 1), 0)
    if number % 10 == 0:
        time.sleep(0.003)
"""


class Shipping:
    """Processes of the shipper, one after the other, for one folder of journals and one database."""

    def __init__(self, folder: Path) -> None:
        self.journals = folder / "journals"
        self.database = folder / "database" / "provenance.sqlite"
        self.database.parent.mkdir()
        self.settings = {
            "JOURNAL_DIR": str(self.journals),
            "PROVENANCE_URL": f"sqlite:///{self.database}",
            "SHIP_SECONDS": "0.02",
            "SHIP_BATCH": "50",
        }
        self._errors = folder / "shipper.err"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that was started last."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start one."""
        with self._errors.open("ab") as errors:
            command = [sys.executable, "-m", "app.shipper"]
            self._process = subprocess.Popen(command, env=environment(self.settings), cwd=ROOT, stderr=errors)

    def end(self, number: int) -> int:
        """End it; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def clear(self) -> None:
        """End what still runs."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)

    def errors(self) -> str:
        """The logs of all of them."""
        return self._errors.read_text()

    def arrived(self) -> list[str]:
        """The answer ids in the database, as somebody else reads them."""
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as database:
            try:
                return [answer_id for (answer_id,) in database.execute("select answer_id from reccom")]
            except sqlite3.OperationalError:  # the tables are not made yet
                return []

    def left(self) -> list[Path]:
        """The journals that are still there."""
        return list(self.journals.glob("*/*.tsv"))


@pytest.fixture
def shipping(tmp_path: Path) -> Iterator[Shipping]:
    """A folder of journals and a database; the shipper is not started yet."""
    made = Shipping(tmp_path)
    yield made
    made.clear()


def numbers(count: int) -> Counter[str]:
    """The answer ids of the first rows, each once."""
    return Counter(row(number).answer_id for number in range(count))


@pytest.mark.crash
def test_each_row_arrives_once_however_often_the_shipper_is_killed(
    shipping: Shipping, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Kill -9 at random moments, while starting and while shipping, as a writer goes on: at the end every row is there once."""
    with child(WRITE_FOR_EVER, shipping.journals / "stable-1", tmp_path / "acknowledged") as writer:
        for chance in rounds(request, 5):
            before = len(shipping.arrived())
            shipping.start()
            if chance.random() < 0.8:
                wait_until(lambda before=before: len(shipping.arrived()) > before)  # type: ignore[misc]
            time.sleep(0.2 * chance.random())
            assert shipping.end(signal.SIGKILL) == -signal.SIGKILL
            assert max(Counter(shipping.arrived()).values(), default=1) == 1
            assert writer.poll() is None
    acknowledged = int((tmp_path / "acknowledged").read_text())
    shipping.start()
    wait_until(lambda: shipping.left() == [])
    assert shipping.end(signal.SIGTERM) == 0
    arrived = Counter(shipping.arrived())
    assert len(arrived) - acknowledged in {0, 1}
    assert arrived == numbers(len(arrived))
    assert list(shipping.journals.glob("*/*.broken")) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_ctrl_c_end_it_with_a_last_look(shipping: Shipping, number: int) -> None:
    """What was written during a long pause is shipped before it ends, with status 0 and no traceback."""
    shipping.settings["SHIP_SECONDS"] = "60"
    journal = Journal(shipping.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(0)))
    shipping.start()
    wait_until(lambda: shipping.arrived() == [row(0).answer_id])
    journal.append(to_line(row(1)))
    assert shipping.end(number) == 0
    journal.close()
    assert Counter(shipping.arrived()) == numbers(2)
    assert shipping.errors() == ""


def test_an_outage_of_the_database_is_waited_for(shipping: Shipping) -> None:
    """The database's folder is away at the start: it says so and goes on; once it is back every row arrives once."""
    shipping.database.parent.rmdir()
    journal = Journal(shipping.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(0)))
    shipping.start()
    wait_until(lambda: shipping.errors().count("cannot ship now, the journals keep the rows") >= 2)
    assert shipping.process.poll() is None
    journal.append(to_line(row(1)))
    shipping.database.parent.mkdir()
    wait_until(lambda: len(shipping.arrived()) == 2)
    journal.close()
    wait_until(lambda: shipping.left() == [])
    assert shipping.end(signal.SIGTERM) == 0
    assert Counter(shipping.arrived()) == numbers(2)
    assert "Traceback" not in shipping.errors()


def test_term_ends_it_while_the_database_is_away(shipping: Shipping) -> None:
    """It does not wait for a database that is away; what there is stays in the journals."""
    shipping.database.mkdir()
    journal = Journal(shipping.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(0)))
    journal.close()
    shipping.start()
    wait_until(lambda: "cannot ship now" in shipping.errors())
    assert shipping.end(signal.SIGTERM) == 0
    (path,) = shipping.left()
    assert path.read_bytes() == to_line(row(0))


@pytest.mark.parametrize(
    ("setting", "content"), [("JOURNAL_DIR", ""), ("PROVENANCE_URL", "nonsense"), ("SHIP_BATCH", "0"), ("SHIP_SECONDS", "soon")]
)
def test_bad_settings_end_it_with_their_names(shipping: Shipping, setting: str, content: str) -> None:
    """Status 2 and one line that begins with the variable's name."""
    shipping.settings[setting] = content
    shipping.start()
    assert shipping.process.wait(20) == 2
    assert shipping.errors().startswith(f"{setting}: ")
    assert shipping.errors().count("\n") == 1


@pytest.mark.crash
def test_every_answer_of_a_killed_service_reaches_the_database(
    shipping: Shipping, make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """From the answer's header to the table: each answer of a service that was killed is there once, and joins its version."""
    server = make_server(samples.save(tmp_path / "model"), JOURNAL_DIR=str(shipping.journals))
    shipping.start()
    server.start()
    answers = [server.ask(f"/recommend/{user}", headers={"X-Request-ID": f"asked-{user}"}) for user in range(100)]
    os.killpg(server.process.pid, signal.SIGKILL)
    server.wait()
    wait_until(lambda: shipping.left() == [] and len(shipping.arrived()) == 100)
    assert shipping.end(signal.SIGTERM) == 0
    with closing(sqlite3.connect(shipping.database)) as database:
        statement = "select answer_id, request_id, user_id, version_number, track from reccom order by user_id"
        assert database.execute(statement).fetchall() == [
            (answer.headers["X-Answer-ID"], f"asked-{user}", user, samples.VERSION, "stable")
            for user, answer in enumerate(answers)
        ]
