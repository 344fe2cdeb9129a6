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
    from collections.abc import Iterator

    from tests.integration.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.crash]

FORTNIGHT = 14
# Lines of a version, and the share of watched minutes that have a line: few lines, but enough ratings for the gate.
SMALL, FULL = (15_000, 0.1), (150_000, 1.0)
DISK = "4g"


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Year]:
    """An installation and its twin after a fortnight, or after `--soak-days`."""
    days = request.config.getoption("--soak-days")
    base = tmp_path_factory.mktemp("year")
    with small_disk(base / "disk", DISK):
        try:
            lived = Year(base, base / "disk", (days or FORTNIGHT) // DAYS_A_VERSION, *(FULL if days else SMALL))
        except NoFaketimeError as error:
            pytest.skip(str(error))
        lived.live()
        yield lived


@pytest.fixture(scope="module")
def fresh(year: Year, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A clone whose tables were restored, with all parts."""
    return checks.restored_clone(year.host, tmp_path_factory.mktemp("fresh") / "host")


def test_a_fresh_clone_has_the_rows_of_an_undisturbed_twin(year: Year, fresh: Checkout) -> None:
    """Ratings byte for byte, watches by pair, and the pair table that was merged version by version."""
    twin = year.twin.installation
    checks.pull_parts(twin)
    tables = [checkout.data("clean_rating.csv").read_bytes() for checkout in (fresh, twin, year.host)]
    assert tables[0] == tables[1] == tables[2]
    pairs = pairs_of_parts(fresh.data(""))
    assert pairs == pairs_of_parts(twin.data(""))
    assert pairs == pairs_of_table(year.host.data(""))


def test_a_fresh_clone_has_all_versions_and_the_last_answers(year: Year, fresh: Checkout) -> None:
    """Commits, tags, rows of `tracking`, and the list of every user, which the twin gives too."""
    assert checks.published(fresh) == checks.published(year.host)
    assert checks.tracked_versions(year.host) == [made.troubles.version for made in year.made]
    for checkout in (fresh, year.twin.installation):
        assert checks.same_answers(checkout.data("model"), year.host.data("model"))


def test_nothing_grows_that_the_docs_call_bounded(year: Year) -> None:
    """Files of the data folder, of the caches, and logs."""
    assert checks.unbounded(year.host) == []


def test_sizes_are_those_of_the_docs_and_late_versions_take_what_their_rows_explain(year: Year, fresh: Checkout) -> None:
    """Sizes by a fifth. Times only after months, compared with the twin, which has as many rows and few versions."""
    found = checks.sizes(year.host, fresh)
    print("", *found, sep="\n")
    assert [size for size in found if not size.fits] == []
    if can_compare(len(year.made)):
        early, late = year.early_and_late()
        by_rows = year.twin.late()
        print(
            f"processor time: versions 11 to 20 {early:.1f} s, the last ten {late:.1f} s, with their rows alone {by_rows:.1f} s"
        )
        assert late <= checks.SLOWER * by_rows
