from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.model import RESERVE
from auto_deployment.ranking.precompute import Lists
from tests.unit.auto_deployment.ranking.tastes import USERS, ranker_of, two_tastes

ROOT = Path(__file__).resolve().parents[5]

# What an executor has: this project's packages and those that docs/models.md names.
EXECUTOR = """
import importlib.abc, pickle, sys

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        there = {*sys.stdlib_module_names, "numpy", "scipy", "threadpoolctl", "app", "auto_deployment"}
        if top not in there and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r} on an executor")

sys.meta_path.insert(0, Nothing())

from auto_deployment.ranking.precompute_spark import _block

class Held:
    value = pickle.load(sys.stdin.buffer)

sys.stdout.buffer.write(_block(Held, 0).tobytes())
"""


@pytest.mark.parametrize("name", ["svd", "blend"])
def test_an_executor_needs_three_packages(name: str) -> None:
    """numpy, scipy and threadpoolctl: neither Surprise nor pandas, and the lists are those of this process."""
    feedback = two_tastes()
    lists = Lists(ranker_of(name, feedback), feedback.seen(), USERS)
    command = [sys.executable, "-c", EXECUTOR]
    ended = subprocess.run(command, cwd=ROOT, input=pickle.dumps(lists), capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    made = np.frombuffer(ended.stdout, dtype=np.int32).reshape(USERS, RESERVE)
    assert (made == lists.block(0)).all()
