"""`scripts/dev bench [NAME...] [--json FILE]`: the benchmarks, each against its baseline in the same run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import collect, console, days, fresh, history, others, precompute, recommend, stack, trainers, verdict
from tests.bench.measure import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.bench.measure import Row

BENCHES: dict[str, Callable[[], Iterable[Row]]] = {
    "recommend": recommend.run,
    "score": others.score,
    "parse": others.parse,
    "artifact": others.artifact,
    "train": others.training,
    "trainers": trainers.run,
    "precompute": precompute.run,
    "collect": collect.run,
    "append": collect.append,
    "stack": stack.run,
    "verdict": verdict.run,
    "history": history.run,
    "console": console.run,
    "fresh": fresh.run,
    "days": days.run,
}

# Not without being named: a quarter of an hour and 4 GB of disk, half an hour, the better part of an hour, and some hours and
# 50 GB.
LONG = {"console", "days", "trainers", "history"}


def main() -> int:
    """The command; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(prog="scripts/dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)} (all but {', '.join(sorted(LONG))})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the rows, for programs")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(BENCHES))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHES)}")
    sys.stdout.write(f"{machine()}\n")
    rows = []
    for name in options.names or [name for name in BENCHES if name not in LONG]:
        for each in BENCHES[name]():
            rows.append(each)
            sys.stdout.write(f"{each.line()}\n")
            sys.stdout.flush()
    if options.json is not None:
        _write(options.json, json.dumps([each.to_dict() for each in rows], indent=2) + "\n")
    return 0 if all(each.met for each in rows) else 1


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
