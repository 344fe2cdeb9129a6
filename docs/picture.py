"""Draws docs/demo.svg for README.md: `scripts/dev demo --check | scripts/dev python docs/picture.py`."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

COMMAND = "$ scripts/dev demo --check"
SUCCESS = "all as it should be"
COLUMNS = 100
CUT = "  ..."
# The checks of refusals and the comparison of rankers fill two screens and show nothing that is served.
LEFT_OUT = re.compile(r"  (?:GET|POST|OPTIONS|inside the training data|ranked by \w+:) ?")
# Times and progress differ from run to run.
TIMES = re.compile(r"  \w+: (?:[\d.]+ s, peak |\d+ of \d+ )")
# The picture must need no network: without its web font the browser's own font is taken.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def shown(lines: Iterable[str]) -> list[str]:
    """The lines of a run without times, with one `...` for each row of lines that are left out."""
    kept: list[str] = []
    for line in lines:
        if TIMES.match(line):
            continue
        if not LEFT_OUT.match(line):
            kept.append(line if len(line) <= COLUMNS else f"{line[: COLUMNS - 3]}...")
        elif kept[-1:] != [CUT]:
            kept.append(CUT)
    return kept


def main() -> int:
    """Draw the run on standard input. Status 1, and the old picture stays, where the run did not succeed."""
    lines = sys.stdin.read().splitlines()
    if lines[-1:] != [SUCCESS]:
        sys.stderr.write(f"picture: the run on standard input did not end with '{SUCCESS}': nothing was drawn\n")
        return 1
    console = Console(record=True, width=COLUMNS, file=StringIO())
    for line in (COMMAND, *shown(lines)):
        console.print(Text(line, style="" if line.startswith(" ") else "bold"))
    picture = Path(__file__).with_name("demo.svg")
    picture.write_text(console.export_svg(title="movierec", code_format=FORMAT, unique_id="demo"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
