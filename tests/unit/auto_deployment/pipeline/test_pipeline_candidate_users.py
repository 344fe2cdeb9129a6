from __future__ import annotations

import hashlib
from io import StringIO
from typing import TYPE_CHECKING

from auto_deployment.common.progress import Progress
from auto_deployment.evaluation.model_metadata import DataFile
from auto_deployment.ingestion.users import demographics
from auto_deployment.ingestion.users.demographics import Person
from auto_deployment.sample import train_tables
from tests.unit.auto_deployment.pipeline.test_pipeline_candidate import VERSION, collected
from tests.unit.auto_deployment.samples import stream

if TYPE_CHECKING:
    from pathlib import Path


def test_the_metadata_names_the_table_of_people(tmp_path: Path) -> None:
    """The report by groups depends on the table, which neither git nor DVC has."""
    settings = collected(tmp_path, stream(), ranker="popularity", trainer="sgd")
    demographics.write(settings.data_dir, {7: Person(33, "F"), 8: Person(33, "M"), 9: Person()})
    metadata = train_tables(settings, VERSION, Progress(StringIO()))
    table = (settings.data_dir / demographics.FILE).read_bytes()
    assert metadata.data[demographics.FILE] == DataFile(md5=hashlib.md5(table, usedforsecurity=False).hexdigest(), rows=3)
