from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
# Prints enough to fill a pipe, and what a child prints; the work is a file that is there in the end.
WORK = """
import subprocess, sys
from pathlib import Path
from auto_deployment.common.output import keep_output
keep_output()
work = open("work", "w")
for _ in range(3000):
    sys.stdout.write("a ± b, a line of progress that somebody may read\\n")
    sys.stdout.flush()
subprocess.run(["echo", "a child"], check=True)
work.write("done")
"""
SINKS = {
    "a reader that has seen enough": "{} | head -1",
    "a closed descriptor": "{} >&-",
    "all descriptors closed": "{} <&- >&- 2>&-",
    "a full disk": "{} >/dev/full",
    "full disks": "{} >/dev/full 2>&1",
    "an ASCII locale": "PYTHONIOENCODING=ascii {}",
}


def shell(command: str, sink: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with its standard output in a sink; the status is the command's."""
    line = f"set -o pipefail; {SINKS[sink].format(command)}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("sink", SINKS)
def test_standard_output_cannot_fail_the_work(tmp_path: Path, sink: str) -> None:
    """The work ends with 0, no file gets what is printed, and only what is lost unexpectedly is said, once."""
    (tmp_path / "program.py").write_text(WORK)
    ended = shell(f"{sys.executable} program.py", sink, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "work").read_text() == "done"
    full = "standard output: No space left on device: the rest is not shown\n"
    assert ended.stderr == (full if sink == "a full disk" else "")
    if sink == "an ASCII locale":
        assert ended.stdout.startswith("a ? b, ")


def test_a_collection_does_not_need_its_standard_output(tmp_path: Path) -> None:
    """The tables are those of a run whose output is read."""
    sample = ROOT / "data" / "sample" / "movielog.log"
    command = f"{sys.executable} -m auto_deployment.auto_deploy --collect-only --input {sample}"
    (tmp_path / "data").mkdir()
    ended = shell(command, "a closed descriptor", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "data" / "clean_rating.csv").stat().st_size > 10_000


def test_a_command_keeps_its_output(tmp_path: Path) -> None:
    """The disk is full before it begins: the status is 0, and there is no traceback."""
    ended = shell(f"{sys.executable} -m auto_deployment.scheduler --status", "a full disk", tmp_path)
    assert ended.returncode == 0
    assert ended.stderr.splitlines() == ["standard output: No space left on device: the rest is not shown"]


PROGRAMS = [path for folder in ("auto_deployment", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
# What these print is all that they do: they fail where nobody can get it, and a reader that has seen enough ends them.
PRINTERS = {"auto_deployment/provenance", "scripts/simulator"}
COMMANDS = [
    str(path.relative_to(ROOT))
    for path in PROGRAMS
    if all(word in path.read_text() for word in ('if __name__ == "__main__":', "sys.stdout"))
    and str(path.parent.relative_to(ROOT)) not in PRINTERS
]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_that_works_keeps_its_output_first(path: str) -> None:
    """Before `main` does anything that could print."""
    parts = ast.parse((ROOT / path).read_text()).body
    (main,) = [part for part in parts if isinstance(part, ast.FunctionDef) and part.name == "main"]
    assert ast.unparse(main.body[1]) == "keep_output()"
