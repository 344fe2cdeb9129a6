"""What the tests of the host side share: an environment without settings of its own, and properties tried without a clock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from auto_deployment.common.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read when NumPy is loaded: beside each other, workers with a thread a core each would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Tools keep what they remember in .cache; a busy machine is no failure.
set_hypothesis_home_dir(Path(__file__).parents[3] / ".cache" / "hypothesis")
settings.register_profile("host", deadline=None)
settings.load_profile("host")


@pytest.fixture(scope="module", autouse=True)
def bare_environment() -> Iterator[None]:
    """No setting comes from the shell that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        yield
