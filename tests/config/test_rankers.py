from __future__ import annotations

from typing import get_args

import pytest

from auto_deployment.common.settings import Settings
from auto_deployment.provenance.explanation import EXPLAINING_ARRAYS, LIST_CONTENTS
from auto_deployment.ranking.model_selection import GRIDS
from auto_deployment.ranking.ranker_factory import NAMES, PARTS, SCORED

PLACES = {
    "GRIDS of ranking/model_selection.py": set(GRIDS),
    "EXPLAINING_ARRAYS of provenance/explanation.py": set(EXPLAINING_ARRAYS),
    "LIST_CONTENTS of provenance/explanation.py": set(LIST_CONTENTS),
    "ranker of common/settings.py": set(get_args(Settings.model_fields["ranker"].annotation)) - {"auto"},
}


@pytest.mark.parametrize("place", PLACES)
def test_every_ranker_is_in_each_list_of_rankers(place: str) -> None:
    """A ranker that one list lacks fails in the middle of a run, or gets the words of another one."""
    missing, unknown = set(NAMES) - PLACES[place], PLACES[place] - set(NAMES)
    assert not missing, f"{place} lacks {', '.join(sorted(missing))}"
    assert not unknown, f"{place} has {', '.join(sorted(unknown))}, which ranking/ranker_factory.py does not make"


def test_each_ranker_has_a_sentence_of_its_own() -> None:
    """`why` names what made the list."""
    assert len(set(LIST_CONTENTS.values())) == len(LIST_CONTENTS)


def test_mixtures_are_made_of_rankers_that_exist() -> None:
    """And they are scored rankers themselves."""
    assert set(PARTS) <= set(SCORED)
    assert {part for parts in PARTS.values() for part in parts} <= set(NAMES)
