from __future__ import annotations

import pytest

from auto_deployment.common.intervals import wilson


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 100, 0.0, 0.0370), (1, 100, 0.0018, 0.0545), (50, 100, 0.4038, 0.5962), (100, 100, 0.9630, 1.0)],
)
def test_a_share_has_wilson_s_interval(hits: int, count: int, low: float, high: float) -> None:
    """Figures as published tables and R's prop.test without correction have them."""
    assert wilson(hits / count, count) == pytest.approx((low, high), abs=1e-4)


def test_all_is_possible_of_nothing() -> None:
    """Neither a division by zero nor a claim."""
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_no_hit_leaves_nothing_below_and_nothing_but_hits_nothing_above() -> None:
    """To the last bit, whatever the number of cases, which may be an effective one."""
    counts = [count / 7 for count in range(1, 3_000)]
    assert {wilson(0.0, count)[0] for count in counts} == {0.0}
    assert {wilson(1.0, count)[1] for count in counts} == {1.0}
    assert all(0 <= low < high <= 1 for count in counts for low, high in (wilson(0.001, count), wilson(0.999, count)))
