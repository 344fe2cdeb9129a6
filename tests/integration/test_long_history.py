from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.model import read_metadata
from tests.bench.history import retrained
from tests.bench.installation import Installation, Size, new_parts

if TYPE_CHECKING:
    from pathlib import Path


def test_a_made_installation_is_retrained_like_one_that_has_grown(tmp_path: Path) -> None:
    """The pair table is made from its parts, the open rows become a version, and damaged ids stay out of the catalogue."""
    size = Size(0.02, users=200, films=40)
    Installation(tmp_path, size).make(lambda _: None)
    installation = Installation(tmp_path, size)  # as a later call finds it
    before = sorted(installation.places.versioning.iterdir())
    assert new_parts(installation.places, "1GB") > 0
    assert sorted(installation.places.versioning.iterdir()) == before
    report = retrained(installation, TRAINER="sgd", RANKER="popularity")
    assert installation.versions == 3
    assert installation.checkout.command("git", "tag", "--list", "model-*").split() == [f"model-{at}" for at in range(1, 5)]
    assert report.films == 40
    metadata = read_metadata(installation.places.data / "model")
    assert metadata["look_alike_count"] > len(metadata["look_alikes"]) == 100
    assert report.watches_gb > 0
    assert {"parts", "history", "read", "evaluate", "total"} <= set(report.stages)
    with pytest.raises(SystemExit, match="was retrained: remove it"):
        Installation(tmp_path, size)
