from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.database import Database, OutOfMemoryError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_query_that_cannot_keep_the_limit_says_what_to_set(tmp_path: Path) -> None:
    """A list cannot be spilled to the disk; a limit that holds it is enough."""
    query = "SELECT len(list(number)) FROM range(4000000) numbers(number)"
    with Database(tmp_path, "24MB") as database, pytest.raises(OutOfMemoryError) as ended:
        database.rows(query)
    assert str(ended.value).startswith(f"a query needs more than its 24MB of memory and the disk of {tmp_path} (")
    assert str(ended.value).endswith("): set a higher MEMORY_GB, or make room there")
    with Database(tmp_path, "400MB") as database:
        assert database.rows(query) == [(4_000_000,)]
