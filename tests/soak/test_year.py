"""Months of versions in simulated time, one every two days: kills, outages and a full disk lose nothing, and nothing grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.faketime import NoFaketimeError
from tests.integration.small_disk import small_disk
from tests.soak import checks
from tests.soak.stream import DAYS_A_VERSION
from tests.soak.tables import pairs_of_parts, pairs_of_table
from tests.soak.year import Year, can_compare

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.crash]

FORTNIGHT = 14
# Lines of a version, and the share of watched minutes that have a line: few lines, but enough ratings for the gate.
SMALL, FULL = (15_000, 0.1), (150_000, 1.0)
DISK = "4g"


def test_months_of_versions_lose_nothing_and_keep_to_their_bounds(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A fortnight, or `--soak-days`: a fresh clone equals an undisturbed twin, and sizes and times are what the docs say."""
    days = request.config.getoption("--soak-days")
    with small_disk(tmp_path / "disk", DISK):
        try:
            year = Year(tmp_path, tmp_path / "disk", (days or FORTNIGHT) // DAYS_A_VERSION, *(FULL if days else SMALL))
        except NoFaketimeError as error:
            pytest.skip(str(error))
        year.live()
        fresh = checks.restored_clone(year.host, tmp_path / "fresh")
        check_rows(year, fresh)
        check_versions_and_answers(year, fresh)
        assert year.kills > 0
        assert checks.unbounded(year.host) == []
        check_sizes(year, fresh)
        if can_compare(len(year.made)):
            check_times(year)


def check_rows(year: Year, fresh: Checkout) -> None:
    """Ratings byte for byte, watches by pair, and the pair table that was merged version by version."""
    twin = year.twin.installation
    checks.pull_parts(twin)
    tables = [checkout.data("clean_rating.csv").read_bytes() for checkout in (fresh, twin, year.host)]
    assert tables[0] == tables[1] == tables[2]
    pairs = pairs_of_parts(fresh.data(""))
    assert pairs == pairs_of_parts(twin.data(""))
    assert pairs == pairs_of_table(year.host.data(""))


def check_versions_and_answers(year: Year, fresh: Checkout) -> None:
    """Commits, tags, rows of `tracking`, and the list of every user, which the twin gives too."""
    assert checks.published(fresh) == checks.published(year.host)
    assert checks.tracked_versions(year.host) == [made.troubles.version for made in year.made]
    for checkout in (fresh, year.twin.installation):
        assert checks.same_answers(checkout.data("model"), year.host.data("model"))


def check_sizes(year: Year, fresh: Checkout) -> None:
    """By a fifth, those of the docs."""
    found = checks.sizes(year.host, fresh)
    print("", *found, sep="\n")
    assert [size for size in found if not size.fits] == []


def check_times(year: Year) -> None:
    """Late versions take what their rows explain: the twin has as many rows, and few versions."""
    early, late = year.early_and_late()
    by_rows = year.twin.late()
    print(f"processor time: versions 11 to 20 {early:.1f} s, the last ten {late:.1f} s, with their rows alone {by_rows:.1f} s")
    assert late <= checks.SLOWER * by_rows
