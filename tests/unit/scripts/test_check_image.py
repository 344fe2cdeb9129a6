from __future__ import annotations

import pytest

from scripts.check.image import judge


def test_answers_of_the_version_pass() -> None:
    """A list for somebody and one for a stranger."""
    assert judge({"version": 4}, ["a,b", "c"], 4) == []


def test_another_version_is_named() -> None:
    """What is served, and what git names; before the first version it may be any."""
    assert judge({"version": 3}, ["a"], 4) == ["it serves version 3, version.txt says 4"]
    assert judge({"version": 3}, ["a"], 0) == []


@pytest.mark.parametrize("text", ["", "a,a", "a,,b", "a b", ",".join(map(str, range(21))), "<html>,é"])
def test_what_is_no_list_is_named(text: str) -> None:
    """Empty, twice the same, a gap, a blank, more than 20."""
    assert judge({"version": 4}, ["a", text], 4) == [f"it recommends {text[:80]!r}"]
