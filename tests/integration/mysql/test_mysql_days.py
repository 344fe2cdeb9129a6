from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from app.journal import ServedList
from app.provenance import DatabaseError
from app.provenance.archive import Archive
from tests.unit.app.samples import row

if TYPE_CHECKING:
    from datetime import date

    from tests.integration.mysql.server import Database

DAY = timedelta(days=1)
FILES = "from information_schema.innodb_tablespaces where name regexp concat('^', %s, '/(reccom|served_lists)#p#')"


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


def name(day: date) -> str:
    """A day's partition."""
    return f"p{day:%Y%m%d}"


def names(first: date, last: date) -> list[str]:
    """The partitions of a span of days, and the one for what comes after."""
    return [name(first + DAY * at) for at in range((last - first).days + 1)] + ["future"]


def served(day: date) -> int:
    """A moment of a day, as a journal has it."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1e6)


def add(archive: Archive, number: int, day: date, rows: int = 1) -> None:
    """Answers of one day."""
    made = [row(number * 100_000 + at, served_at=served(day), request_id=f"{number}-{at}") for at in range(rows)]
    archive.add_answers("stable-1/1.tsv", made, 1)


def upkeep_on(database: Database, day: date) -> None:
    """Have the procedure run as it will on a day to come."""
    with closing(database.server.connect(database.name, "root", "root's own")) as connection, connection.cursor() as cursor:
        cursor.execute("set session timestamp = %s", [served(day) // 1_000_000])
        cursor.execute("call upkeep()")


def counts(database: Database) -> dict[str, int]:
    """The rows in each partition that has some."""
    found = {each: database.ask(f"select count(*) from reccom partition ({each})")[0][0] for each in database.days()}
    return {each: rows for each, rows in found.items() if rows}


def test_there_are_days_before_they_are_needed(database: Database) -> None:
    """From the oldest that is kept to a week from now; every hour of it again changes nothing."""
    expected = names(today() - 3 * DAY, today() + 7 * DAY)
    assert database.days() == expected
    upkeep_on(database, today())
    assert database.days() == expected


def test_rows_of_any_day_find_a_place(database: Database, service: Archive) -> None:
    """Their own where there is one; older ones the oldest, later ones the last."""
    for number, day in enumerate((today(), today() - 2 * DAY, today() - 400 * DAY, today() + 30 * DAY)):
        add(service, number, day)
    assert counts(database) == {
        name(today() - 3 * DAY): 1,
        name(today() - 2 * DAY): 1,
        name(today()): 1,
        "future": 1,
    }


def test_old_days_go_with_their_rows_and_new_ones_come(database: Database, service: Archive) -> None:
    """Two days later: two more in front, two less at the end; rows that came too early move to their own day."""
    for number, day in enumerate((today() - 3 * DAY, today(), today() + 9 * DAY)):
        add(service, number, day)
    later = today() + 2 * DAY
    upkeep_on(database, later)
    assert database.days() == names(later - 3 * DAY, later + 7 * DAY)
    assert counts(database) == {name(today()): 1, name(today() + 9 * DAY): 1}


def test_after_a_long_rest_the_days_are_there_again(database: Database, service: Archive) -> None:
    """After 100 days without maintenance, expired days are dropped, and every coming day has its partition."""
    add(service, 1, today())
    later = today() + 100 * DAY
    upkeep_on(database, later)
    assert database.days() == names(later - 3 * DAY, later + 7 * DAY)
    assert counts(database) == {}


def test_the_oldest_days_go_where_all_take_too_much_room(database: Database, service: Archive) -> None:
    """Down to the bound, and never today."""
    for number, day in enumerate((today() - 2 * DAY, today() - DAY, today())):
        for part in range(5):
            add(service, number * 10 + part, day, 2000)
    ((used,),) = database.ask(f"select sum(file_size) {FILES}", database.name)
    database.ask("update retention set max_bytes = %s", int(used))
    upkeep_on(database, today())
    assert len(counts(database)) == 3
    oldest_two = f"and (name like '%{name(today() - 3 * DAY)}' or name like '%{name(today() - 2 * DAY)}')"
    ((old,),) = database.ask(f"select sum(file_size) {FILES} {oldest_two}", database.name)
    database.ask("update retention set max_bytes = %s", int(used - old))
    upkeep_on(database, today())
    assert counts(database) == {name(today() - DAY): 10_000, name(today()): 10_000}
    database.ask("update retention set max_bytes = 1")
    upkeep_on(database, today())
    assert counts(database) == {name(today()): 10_000}
    assert database.days() == names(today(), today() + 7 * DAY)


def test_the_service_looks_after_the_days_and_two_at_once_do_no_harm(database: Database) -> None:
    """By its account's one right to do so."""
    database.ask("update retention set keep_days = 1")
    archives = [Archive(database.service) for _ in range(4)]
    threads = [threading.Thread(target=archive.upkeep) for archive in archives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for archive in archives:
        archive.close()
    assert database.days() == names(today() - DAY, today() + 7 * DAY)


def test_a_long_reader_holds_no_writer_up(database: Database, service: Archive, host: Archive) -> None:
    """While a backup reads, upkeep gives up after seconds, rows arrive all the same, and later the days go."""
    for part in range(4):
        add(service, part, today(), 2000)
    reading = host.everything()
    next(reading)
    database.ask("update retention set keep_days = 1")
    begun = time.monotonic()
    with pytest.raises(DatabaseError, match="Lock wait timeout"):
        service.upkeep()
    add(service, 9, today())
    assert time.monotonic() - begun < 10
    assert len(list(reading)) == 7999
    service.upkeep()
    assert database.days() == names(today() - DAY, today() + 7 * DAY)


LISTED = ServedList("0123456789abcdef", 5, 3, 0, "BwAAAP8.AQ")


def list_days(database: Database) -> list[str]:
    """The partitions of `served_lists`, in their order."""
    query = "select partition_name from information_schema.partitions where table_schema = %s and table_name = 'served_lists'"
    return [day for (day,) in database.ask(f"{query} order by partition_ordinal_position", database.name)]


def test_served_lists_are_kept_as_long_as_the_answers(database: Database, service: Archive) -> None:
    """Once a day, however often they were served, and in the same days."""
    first = today() - 3 * DAY
    for _ in range(2):
        for day in (first, today()):
            lists = [LISTED._replace(served_at=served(day)), LISTED._replace(user_id=6, served_at=served(day))]
            service.add_answers("stable-1/1.tsv", [], 1, [*lists, lists[0]])
    assert list_days(database) == database.days() == names(first, today() + 7 * DAY)
    assert database.ask("select count(*), count(distinct day) from served_lists") == [(4, 2)]
    upkeep_on(database, today() + DAY)
    assert list_days(database) == database.days() == names(first + DAY, today() + 8 * DAY)
    assert database.ask("select count(*), count(distinct day) from served_lists") == [(2, 1)]


def test_an_upkeep_that_was_killed_between_the_tables_is_completed(database: Database, service: Archive) -> None:
    """Its answers had left, their lists had not."""
    service.add_answers("stable-1/1.tsv", [], 1, [LISTED._replace(served_at=served(today() - 3 * DAY))])
    database.ask(f"alter table reccom drop partition {name(today() - 3 * DAY)}")
    upkeep_on(database, today())
    assert list_days(database) == database.days()
    assert database.ask("select count(*) from served_lists") == [(0,)]
