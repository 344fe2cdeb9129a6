from __future__ import annotations

from typing import TYPE_CHECKING

from app.model import read_metadata
from tests.bench.history import retrained
from tests.bench.installation import Installation, Size

if TYPE_CHECKING:
    from pathlib import Path


def test_a_made_installation_is_retrained_like_one_that_has_grown(tmp_path: Path) -> None:
    """The pair table is made from its parts, the open rows become a version, and damaged ids stay out of the catalogue."""
    installation = Installation(tmp_path, Size(0.02, users=200, films=40))
    installation.make(lambda _: None)
    report = retrained(installation, TRAINER="sgd", RANKER="popularity")
    assert installation.versions == 3
    assert installation.checkout.command("git", "tag", "--list", "model-*").split() == [f"model-{at}" for at in range(1, 5)]
    assert report.films == 40
    metadata = read_metadata(installation.places.data / "model")
    assert metadata["look_alike_count"] > len(metadata["look_alikes"]) == 100
    assert report.watches_gb > 0
    assert {"parts", "history", "read", "evaluate", "total"} <= set(report.stages)
