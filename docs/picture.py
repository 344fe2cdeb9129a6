"""Draws docs/demo.svg for README.md: `scripts/dev demo --check | scripts/dev python docs/picture.py`."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COMMAND = "$ scripts/dev demo --check"
COLUMNS, FIRST, LAST = 100, 9, 13
# The picture must need no network: without its web font the browser's own font is taken.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> int:
    """Draw the beginning and the end of what standard input has."""
    lines = sys.stdin.read().splitlines()
    console = Console(record=True, width=COLUMNS, file=StringIO())
    for line in (COMMAND, *lines[:FIRST], "  ...", *lines[-LAST:]):
        shown = Text(line if len(line) <= COLUMNS else f"{line[: COLUMNS - 3]}...")
        shown.stylize("bold" if not line.startswith(" ") else "")
        console.print(shown)
    picture = Path(__file__).with_name("demo.svg")
    picture.write_text(console.export_svg(title="movierec", code_format=FORMAT, unique_id="demo"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
