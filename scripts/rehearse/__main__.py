"""`scripts/dev rehearse [CASE...] [--json FILE]`: releases on a stack of its own, time compressed, under visits."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import write_synced
from auto_deployment.common.output import keep_output
from scripts.ports import reserve
from scripts.rehearse.acts import ACTS, wait_for_step
from scripts.rehearse.cases import CASES, Case, chosen, wrong_endings
from scripts.rehearse.place import ReleaseStack
from scripts.rehearse.sinks import Mailbox
from scripts.rehearse.traffic import Traffic, Visits

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / ".rehearsals"
FORM = "{:16} {:13} {:13} {:>7} {:>9} {:>7} {:>8}  {}"
SETTLE_SECONDS = 3.0


class Rehearsal:
    """The stack, the mailbox, and the next version's number."""

    def __init__(self, stack: ReleaseStack, mailbox: Mailbox, evidence: Path) -> None:
        self._stack = stack
        self._mailbox = mailbox
        self._evidence = evidence
        self._number = 1

    def begin(self) -> None:
        """Have two good versions released: there is something to compare with, and to go back to."""
        for _ in range(2):
            self._stack.put_version(self._number)
            running = self._stack.start("release", "--no-shadow")
            wait_for_step(self._stack, "bake", running.poll)
            self._stack.deploy("promote")
            status, said = self._stack.end(running)
            if status:
                raise RunError(f"the first versions could not be released: {said}")
            self._number += 1

    def run(self, case: Case) -> dict[str, Any]:
        """One case; its row."""
        mails, ends, seen = len(self._mailbox.subjects), len(self._stack.ends()), self._stack.answers_logged()
        traffic = Traffic(self._stack.port, case.rate, self._stack.folder / "visits.log", self._stack.environment)
        begun = time.monotonic()
        traffic.start()
        try:
            ACTS[case.act](self._stack, case, self._number)
            problem = ""
        except (RunError, OSError, ValueError, subprocess.SubprocessError) as error:
            problem = str(error)
        visits = traffic.stop()
        seconds = time.monotonic() - begun
        self._number += len(case.endings)
        new = self._stack.ends()[ends:]
        self._keep(case, new)
        return self._judged(case, new, visits, seconds, self._mailbox.subjects[mails:], seen, problem)

    def _judged(
        self,
        case: Case,
        ends: Sequence[dict[str, Any]],
        visits: Visits,
        seconds: float,
        subjects: Sequence[str],
        seen: int,
        problem: str,
    ) -> dict[str, Any]:
        endings = [end["ending"] for end in ends]
        verdict = endings[-1] if endings else "none"
        wrong_end = wrong_endings(case, endings)
        logged = self._stack.answers_logged() - seen
        wrong = {
            problem: bool(problem),
            wrong_end: bool(wrong_end),
            f"{visits.failed} requests failed: {visits.kinds}": visits.failed > 0,
            f"{len(subjects)} mails instead of {len(case.endings)}: {subjects}": len(subjects) != len(case.endings),
            f"NGINX logged {logged} requests, the client made {visits.requests}": logged != visits.requests,
            **dict.fromkeys(self._stack.ailments(), True),
        }
        return {
            "case": case.name,
            "expected": case.expected,
            "verdict": verdict,
            "seconds": round(seconds, 1),
            "requests": visits.requests,
            "failed_requests": visits.failed,
            "messages": len(subjects),
            "ok": not any(wrong.values()),
            "told": list(subjects),
            "wrong": [text for text, is_so in wrong.items() if is_so],
        }

    def _keep(self, case: Case, ends: Sequence[dict[str, Any]]) -> None:
        """Copy the evidence of the case's releases."""
        for end in ends:
            to = self._evidence / f"{case.name}-{end['folder']}"
            shutil.copytree(self._stack.folder / ".stack" / "release" / end["folder"], to, dirs_exist_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a case does not end as it should."""
    keep_output()
    options = _options(arguments)
    # Of a shell's background job Ctrl-C is ignored, and so it would be of the simulator, which is ended by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    evidence = EVIDENCE / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    evidence.mkdir(parents=True)
    try:
        rows = _rehearse(chosen(options.cases), evidence, options.json)
    except RunError as error:
        sys.stderr.write(f"rehearse: {error}\n")
        return 1
    failed = sum(row["failed_requests"] for row in rows)
    wrong = [row["case"] for row in rows if not row["ok"]]
    asked = sum(row["requests"] for row in rows)
    _say(f"{asked:,} requests, {failed} of them failed; {len(rows) - len(wrong)} of {len(rows)} cases ended as they should")
    _say(f"evidence: {evidence}")
    return 1 if wrong else 0


def _rehearse(cases: Sequence[Case], evidence: Path, report: Path | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    (port,) = reserve()
    mailbox = Mailbox(port)
    mailbox.start()
    with tempfile.TemporaryDirectory(prefix="rehearse-") as name:
        stack = ReleaseStack(Path(name) / "server", "movierec-rehearse", **mail_settings(port))
        try:
            _say("bringing the stack up")
            stack.up_anew()
            rehearsal = Rehearsal(stack, mailbox, evidence)
            rehearsal.begin()
            _say(FORM.format("case", "expected", "verdict", "seconds", "requests", "failed", "messages", ""))
            for case in cases:
                row = rehearsal.run(case)
                rows.append(row)
                _say(_line(row))
                if report is not None:
                    write_synced(report, (json.dumps(rows, indent=2) + "\n").encode())
        finally:
            stack.down()
            mailbox.stop()
    return rows


def mail_settings(port: int) -> dict[str, str]:
    """Settings that send all mail to a mailbox on this machine."""
    return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "MAIL_FROM": "release@example.org", "MAIL_TO": "team@example.org"}


def _line(row: dict[str, Any]) -> str:
    numbers = (f"{row['seconds']:.0f}", f"{row['requests']:,}", row["failed_requests"], row["messages"])
    return FORM.format(row["case"], row["expected"], row["verdict"], *numbers, "; ".join(row["wrong"]) or "ok")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [case.name for case in CASES]
    told = "\n".join(f"  {case.name:16} {case.told}: {case.expected}" for case in CASES)
    parser = argparse.ArgumentParser(
        prog="scripts/dev rehearse",
        description=__doc__,
        epilog=f"cases:\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="which; all where none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the rows, rewritten after every case")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.cases) - set(names))
    if unknown:
        parser.error(f"no case {', '.join(unknown)}: there are {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
