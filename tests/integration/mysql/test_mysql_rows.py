from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from app.journal import Journal, ServedList, to_line
from app.provenance import DatabaseError
from app.provenance.archive import Archive
from tests.integration.conftest import ROOT, wait_until
from tests.integration.mysql.server import HOST_PASSWORD, SERVICE_PASSWORD, Database, Server, docker
from tests.integration.test_shipper_process import WRITE_FOR_EVER
from tests.unit.app.crashes import child, rounds
from tests.unit.app.samples import first_format, row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.provenance import TrackingRow

TRAINED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - the tables hold UTC without a zone
VERSION: TrackingRow = {
    "version_number": 3,
    "data_creation": TRAINED,
    "trained_on": TRAINED,
    "model_rmse": 0.75,
    "git_commit": "c" * 40,
    "data_md5": "d" * 32,
    "model_md5": "e" * 32,
}
# As it stands in the contract.
SEEDS_QUERY = (
    "select A.version_number, A.user_id, B.data_creation, B.trained_on, B.model_rmse "
    "from reccom A, tracking B where A.version_number = B.version_number"
)


class Shipping:
    """Shippers, one after the other, for one folder of journals, as the stack starts them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.journals = folder / "journals"
        self.settings = {
            "JOURNAL_DIR": str(self.journals),
            "MYSQL_USER": "movierec_service",
            "MYSQL_PASSWORD_FILE": database.settings["SERVICE_PASSWORD_FILE"],
            "SHIP_SECONDS": "0.02",
            "SHIP_BATCH": "50",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start one."""
        self.process = self.database.process("app.shipper", **self.settings)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def arrived(self) -> list[str]:
        """The answer ids in the database, as somebody else reads them."""
        return [answer_id for (answer_id,) in self.database.ask("select answer_id from reccom")]

    def left(self) -> list[Path]:
        """The journals that are still there."""
        return list(self.journals.glob("*/*.tsv"))


@pytest.fixture
def shipping(database: Database, tmp_path: Path) -> Iterator[Shipping]:
    """A folder of journals; the shipper is not started yet."""
    made = Shipping(database, tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.end(signal.SIGKILL)


def numbers(count: int) -> Counter[str]:
    """The answer ids of the first rows, each once."""
    return Counter(row(number).answer_id for number in range(count))


@pytest.mark.crash
def test_a_shipper_that_ends_waits_for_a_server_that_comes_back(shipping: Shipping, server: Server) -> None:
    """With `SHIP_END_SECONDS`: its journals would end with it. The answers arrive, and it ends at once then."""
    shipping.settings["SHIP_END_SECONDS"] = "60"
    journal = Journal(shipping.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(0)))
    shipping.start()
    wait_until(lambda: len(shipping.arrived()) == 1)
    docker("kill", server.name)
    journal.append(to_line(row(1)))
    journal.close()
    assert shipping.process is not None
    shipping.process.send_signal(signal.SIGTERM)
    time.sleep(3)
    assert shipping.process.poll() is None
    docker("start", server.name)
    server.wait()
    shipping.process.communicate(timeout=30)
    assert shipping.process.returncode == 0
    assert shipping.left() == []
    assert Counter(shipping.arrived()) == numbers(2)


@pytest.mark.crash
def test_each_row_arrives_once_however_often_shipper_and_server_are_killed(
    shipping: Shipping, server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Kill -9 of the shipper at random moments as a writer goes on, and of the server in between: every row is there once."""
    with child(WRITE_FOR_EVER, shipping.journals / "stable-1", tmp_path / "acknowledged") as writer:
        for at, chance in enumerate(rounds(request, 8)):
            before = len(shipping.arrived())
            shipping.start()
            if chance.random() < 0.8:
                wait_until(lambda before=before: len(shipping.arrived()) > before)  # type: ignore[misc]
            time.sleep(0.3 * chance.random())
            if at % 4 == 3:
                docker("kill", server.name)
                docker("start", server.name)
                server.wait()
            assert shipping.end(signal.SIGKILL) == -signal.SIGKILL
            assert max(Counter(shipping.arrived()).values(), default=1) == 1
            assert writer.poll() is None
    acknowledged = int((tmp_path / "acknowledged").read_text())
    shipping.start()
    wait_until(lambda: shipping.left() == [], 60)
    assert shipping.end() == 0
    arrived = Counter(shipping.arrived())
    print(f"{len(arrived)} rows")
    assert len(arrived) - acknowledged in {0, 1}
    assert arrived == numbers(len(arrived))
    assert list(shipping.journals.glob("*/*.broken")) == []


@pytest.mark.crash
def test_a_server_that_hangs_or_is_away_is_waited_for(shipping: Shipping, server: Server) -> None:
    """Paused, stopped and started again while rows come: the shipper lives on, and each row arrives once."""
    journal = Journal(shipping.journals / "stable-1", 1 << 24, 1 << 16)
    shipping.start()
    for at, (away, back) in enumerate((("pause", "unpause"), ("stop", "start"), ("kill", "start"))):
        docker(away, server.name)
        for number in range(500 * at, 500 * (at + 1)):
            assert journal.append(to_line(row(number)))
        time.sleep(3)
        docker(back, server.name)
        server.wait()
        wait_until(lambda at=at: len(shipping.arrived()) == 500 * (at + 1), 60)  # type: ignore[misc]
    journal.close()
    wait_until(lambda: shipping.left() == [], 30)
    assert shipping.end() == 0
    assert Counter(shipping.arrived()) == numbers(1500)


def test_rows_are_stored_whole(service: Archive, host: Archive, database: Database) -> None:
    """Every column at its longest and greatest comes back as it was; the microsecond and the inputs too."""
    longest = row(
        1,
        request_id="r" * 64,
        user_id=2**63 - 1,
        version_number=2**31 - 1,
        track="canary",
        served_at=9_999_999_999_999_999,
        step="s" * 16,
        inputs="i" * 64,
    )
    service.add_answers("stable-1/1.tsv", [longest, row(2)], 100)
    assert sorted(host.everything(), key=repr) == sorted([longest, row(2)], key=repr)
    assert database.ask("select date_format(served_at, '%Y-%m-%d %T.%f') from reccom where user_id = 5") == [
        ("2025-06-15 15:06:40.123456",)
    ]


@pytest.mark.parametrize(
    "change",
    [{"request_id": "r" * 65}, {"step": "s" * 17}, {"track": "t" * 9}, {"user_id": 2**63}, {"version_number": 2**31}],
)
def test_what_does_not_fit_is_never_cut(service: Archive, host: Archive, change: dict[str, Any]) -> None:
    """The whole batch is refused, its mark too; also where some of its rows are there already."""
    service.add_answers("stable-1/1.tsv", [row(1)], 100)
    for rows in ([row(2), row(3, **change)], [row(1), row(2), row(3, **change)]):
        with pytest.raises(DatabaseError):
            service.add_answers("stable-1/1.tsv", rows, 200)
    assert host.count() == 1
    assert service.taken() == {"stable-1/1.tsv": 100}


def test_the_seeds_query_runs_as_it_stands(service: Archive, host: Archive, database: Database) -> None:
    """By the host's account, each answer with its version."""
    host.track({**VERSION, "model_rmse": 0.5})
    host.track(VERSION)
    service.add_answers("stable-1/1.tsv", [row(1), row(2, user_id=6), row(3, version_number=99)], 100)
    found = database.ask(SEEDS_QUERY, user="movierec_host", password=HOST_PASSWORD)
    assert sorted(found) == [(3, 5, TRAINED, TRAINED, 0.75), (3, 6, TRAINED, TRAINED, 0.75)]
    assert [each.version_number for each in host.find("user_id", 5)] == [3, 99]
    assert [(each.track, each.answers) for each in host.served_by(3)] == [("stable", 2)]


def test_a_backup_is_taken_while_rows_come_and_restored_into_an_empty_server(
    service: Archive, host: Archive, database: Database, server: Server, tmp_path: Path
) -> None:
    """By the commands: every row of the moment, once; again adds nothing; rows that came since stay.

    A backup from before served lists is restored, too.
    """
    host.track(VERSION)
    lists = [ServedList(f"{number:016x}", number, 3, number * 86_400_000_000, "BwAAAP8.AQ") for number in range(20_000, 20_500)]
    service.add_answers("stable-1/1.tsv", [row(number) for number in range(3000)], 100, lists)
    tool = {"MYSQL_USER": "movierec_host", "MYSQL_PASSWORD_FILE": database.settings["HOST_PASSWORD_FILE"]}
    status, output, errors = provenance(database, "backup", str(tmp_path / "backup.gz"), **tool)
    assert (status, output) == (0, f"3,000 answers in {tmp_path / 'backup.gz'}\n"), errors
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    other = Database(server, other_folder)
    other.migrate()
    with closing(Archive(other.service)) as new:
        new.add_answers("stable-1/1.tsv", [row(2999), row(4000)], 100)
    lines = gzip.decompress((tmp_path / "backup.gz").read_bytes())
    older = b"".join(first_format(lines.splitlines(keepends=True)))
    assert other.run("app.restore", older)[:2] == (0, "2,999 answers added, 1 were there, 0 differ here and stay\n")
    assert other.ask("select count(*) from served_lists") == [(0,)]
    other.ask("delete from reccom where answer_id not in (%s, %s)", row(2999).answer_id, row(4000).answer_id)
    assert other.run("app.restore", lines)[:2] == (0, "2,999 answers added, 1 were there, 0 differ here and stay\n")
    assert other.run("app.restore", lines)[:2] == (0, "0 answers added, 3,000 were there, 0 differ here and stay\n")
    assert other.ask("select count(*), min(model_rmse) from reccom, tracking") == [(3001, 0.75)]
    every = "select list_id, user_id, version_number, day, served_at, source from served_lists order by list_id"
    assert other.ask(every) == database.ask(every)
    assert len(other.ask(every)) == len(lists)
    other.ask("update tracking set model_md5 = 'another'")
    status, _, errors = other.run("app.restore", lines)
    assert status == 3
    assert errors.startswith("restore: version 3 is another one in this database")
    assert other.run("app.restore", lines[:-200])[0] == 3
    other.ask("update tracking set model_md5 = %s", "e" * 32)
    assert other.run("app.restore", lines[:-200])[0] == 1
    other.drop()


def test_operators_ask_with_the_secrets_that_the_stack_made(service: Archive, database: Database, tmp_path: Path) -> None:
    """User and password come from .secrets/host; a file that is empty is named."""
    service.add_answers("stable-1/1.tsv", [row(1), row(2, user_id=6)], 100)
    folder = tmp_path / ".secrets" / "host"
    folder.mkdir(parents=True)
    (folder / "mysql_user").write_text("movierec_host\n")
    (folder / "mysql_password").write_text(HOST_PASSWORD)
    status, output, errors = provenance(database, "user", "5", "--json")
    assert status == 0, errors
    assert output.count('"answer_id"') == 1
    assert provenance(database, "request", "request-1")[1].count("request-1") == 2
    assert provenance(database, "replay", "request-1")[0] == 2
    (folder / "mysql_password").write_text("")
    status, _, errors = provenance(database, "user", "5")
    assert status == 2
    assert ".secrets/host/mysql_password: the file is empty" in errors


def provenance(database: Database, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """`scripts/provenance` in the database's folder; MySQL's port is all it is told."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
    environment |= {name: database.settings[name] for name in ("MYSQL_PORT", "MYSQL_DATABASE")}
    command = [sys.executable, "-m", "auto_deployment.provenance", *arguments]
    ended = subprocess.run(
        command, cwd=database.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_what_a_service_writes_is_what_its_account_may_read_back(database: Database) -> None:
    """Of its answers only the ids: enough to add each once."""
    assert database.ask("select answer_id, day from reccom", user="movierec_service", password=SERVICE_PASSWORD) == []


def test_days_are_those_of_utc(service: Archive, database: Database) -> None:
    """A row of the last microsecond of a day is in that day."""
    last = int(datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC).timestamp()) * 1_000_000 + 999_999
    service.add_answers("stable-1/1.tsv", [row(1, served_at=last), row(2, served_at=last + 1)], 100)
    assert database.ask("select cast(day as char) from reccom order by answer_id") == [("2026-01-01",), ("2026-01-02",)]
