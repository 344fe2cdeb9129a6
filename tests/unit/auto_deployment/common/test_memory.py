from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.memory import peak_of_tree, whole_gb
from auto_deployment.common.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GB = 10**9
MACHINE = 16_000_000  # kB
UNLIMITED = "9223372036854771712"
PARENT = """
import subprocess, sys
held = bytearray(200_000_000)
subprocess.run([sys.executable, "-c", "held = bytearray(150_000_000); import time; time.sleep(0.6)"])
"""

RISE = """
from auto_deployment.common.memory import peak_of_tree
with peak_of_tree() as during:
    bytearray(300_000_000)
with peak_of_tree() as after:
    pass
print(during.gb, after.gb)
"""


def given(folder: Path, groups: str, limits: Mapping[str, str]) -> float:
    """What a process has on a machine of 16 GB, in these cgroups and with these limits, by file."""
    for name, text in {
        "proc/meminfo": f"MemTotal:       {MACHINE * 1000 // 1024} kB\nMemFree:        1000 kB\nHugePages_Total:       0\n",
        "proc/self/cgroup": groups,
        **{f"cgroup/{name}": text for name, text in limits.items()},
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return whole_gb(folder / "proc", folder / "cgroup")


@pytest.mark.parametrize(
    ("groups", "limits", "least"),
    [
        pytest.param("0::/\n", {}, 16, id="no limit, the whole machine"),
        pytest.param("", {}, 16, id="a kernel without cgroups"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": f"{4 * GB}\n"}, 4, id="v2, its own"),
        pytest.param("0::/a/b\n", {"a/memory.max": f"{3 * GB}\n", "a/b/memory.max": "max\n"}, 3, id="v2, its parent's"),
        pytest.param("0::/a\n", {"a/memory.max": f"{4 * GB}\n", "a/memory.high": f"{2 * GB}\n"}, 2, id="v2, throttled"),
        pytest.param("0::/\n", {"memory.max": f"{4 * GB}\n"}, 4, id="v2, in a container that is its own root"),
        pytest.param("0::/../a\n", {"memory.max": f"{4 * GB}\n"}, 4, id="v2, outside the container's root"),
        pytest.param("0::/a\n", {"a/memory.max": f"{64 * GB}\n"}, 16, id="more than the machine has"),
        pytest.param("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": f"{5 * GB}\n"}, 5, id="v1, its own"),
        pytest.param(
            "4:cpu,memory:/x/y\n",
            {"memory/x/memory.limit_in_bytes": f"{5 * GB}", "memory/x/y/memory.limit_in_bytes": UNLIMITED},
            5,
            id="v1, its parent's",
        ),
        pytest.param("4:memory:/docker/ab12\n", {"memory/memory.limit_in_bytes": f"{5 * GB}\n"}, 5, id="v1, in a container"),
        pytest.param("4:memory:/\n", {"memory/memory.limit_in_bytes": f"{UNLIMITED}\n"}, 16, id="v1, no limit"),
        pytest.param("0::/a\n", {"other/memory.max": f"{GB}\n"}, 16, id="the limit of another cgroup"),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, groups: str, limits: Mapping[str, str], least: float) -> None:
    """Of the machine, of the cgroup, and of the parents of the cgroup."""
    assert given(tmp_path, groups, limits) == pytest.approx(least, rel=1e-4)


def test_the_setting_is_always_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three quarters of what there is; what is set wins."""
    monkeypatch.chdir(tmp_path)
    assert load_settings().memory_gb == 0.75 * whole_gb()
    monkeypatch.setenv("MEMORY_GB", "1.5")
    assert load_settings().memory_gb == 1.5


def test_the_peak_of_a_process_has_its_children() -> None:
    """200 MB in a process, 150 MB in its child; an interpreter takes some 10 MB more."""
    process = subprocess.Popen([sys.executable, "-c", PARENT])
    with peak_of_tree(process.pid) as peak:
        assert process.wait(60) == 0
    assert 0.35 <= peak.gb <= 0.45


def test_a_rise_between_two_samples_counts() -> None:
    """Memory that is freed at once counts in its own measurement, and not in the next one."""
    ended = subprocess.run([sys.executable, "-c", RISE], check=True, capture_output=True, text=True, timeout=60)
    during, after = map(float, ended.stdout.split())
    assert during >= 0.3
    assert after < 0.1
