from __future__ import annotations

import hashlib
from io import StringIO
from typing import TYPE_CHECKING

from auto_deployment.candidate import train_version
from auto_deployment.demographics import store
from auto_deployment.demographics.store import Person
from auto_deployment.progress import Progress
from tests.unit.auto_deployment.samples import stream
from tests.unit.auto_deployment.test_candidate import VERSION, collected

if TYPE_CHECKING:
    from pathlib import Path


def test_the_metadata_names_the_table_of_people(tmp_path: Path) -> None:
    """The report by groups depends on the table, which neither git nor DVC has."""
    settings = collected(tmp_path, stream(), ranker="popularity", trainer="sgd")
    store.write(settings.data_dir, {7: Person(33, "F"), 8: Person(33, "M"), 9: Person()})
    metadata = train_version(settings, VERSION, Progress(StringIO()))
    table = (settings.data_dir / store.FILE).read_bytes()
    assert metadata["data"][store.FILE] == {"md5": hashlib.md5(table, usedforsecurity=False).hexdigest(), "rows": 3}
