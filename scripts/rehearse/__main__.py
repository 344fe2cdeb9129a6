"""`scripts/dev rehearse [CASE...] [--json FILE]`: releases on a separate stack, with compressed time and simulated visits."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import write_synced
from auto_deployment.common.output import keep_output
from scripts.ports import reserve
from scripts.rehearse.actions import ACTIONS, wait_for_step
from scripts.rehearse.cases import CASES, Case, select_cases, wrong_endings
from scripts.rehearse.mailbox import LOOPBACK, Mailbox
from scripts.rehearse.release_stack import ReleaseStack
from scripts.rehearse.traffic import Traffic, Visits

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / ".rehearsals"
ROW_FORMAT = "{:16} {:13} {:13} {:>7} {:>9} {:>7} {:>8}  {}"


@dataclass(frozen=True)
class CaseResult:
    """A row of the report. `verdict`: the last ending. `subjects`: of the mails. `problems`: what differs from the case."""

    case: str
    expected: str
    verdict: str
    seconds: float
    requests: int
    failed_requests: int
    messages: int
    ok: bool
    subjects: Annotated[list[str], Field(alias="told")]
    problems: Annotated[list[str], Field(alias="wrong")]


RESULTS = TypeAdapter(list[CaseResult])


class Rehearsal:
    """Runs cases one after the other, each with the next version's number, and copies their evidence to a folder."""

    def __init__(self, stack: ReleaseStack, mailbox: Mailbox, evidence: Path) -> None:
        self._stack = stack
        self._mailbox = mailbox
        self._evidence = evidence
        self._number = 1

    def prepare(self) -> None:
        """Release two good versions: one to compare with and one to roll back to. Raises RunError if a release fails."""
        for _ in range(2):
            self._stack.put_version(self._number)
            running = self._stack.start("release", "--no-shadow")
            wait_for_step(self._stack, "bake", running.poll)
            self._stack.deploy("promote")
            status, output = self._stack.wait_for_end(running)
            if status:
                raise RunError(f"version {self._number} cannot be released before the cases begin: {output}")
            self._number += 1

    def run(self, case: Case) -> CaseResult:
        """Run one case under its traffic, and compare what happened with what the case expects."""
        mails, ends, logged = len(self._mailbox.subjects), len(self._stack.ends()), self._stack.answers_logged()
        traffic = Traffic(self._stack.port, case.rate, self._stack.folder / "visits.log", self._stack.environment)
        began = time.monotonic()
        traffic.start()
        problems: list[str] = []
        try:
            ACTIONS[case.action](self._stack, case, self._number)
        except (RunError, OSError, ValueError, subprocess.SubprocessError) as error:
            problems.append(str(error))
        visits = traffic.stop()
        seconds = time.monotonic() - began
        self._number += len(case.endings)
        new_ends, subjects = self._stack.ends()[ends:], self._mailbox.subjects[mails:]
        self._copy_evidence(case, new_ends)
        endings = [end["ending"] for end in new_ends]
        problems += differences(case, endings, visits, subjects, self._stack.answers_logged() - logged)
        problems += self._stack.problems()
        return CaseResult(
            case=case.name,
            expected=case.expected,
            verdict=endings[-1] if endings else "none",
            seconds=round(seconds, 1),
            requests=visits.requests,
            failed_requests=visits.failed,
            messages=len(subjects),
            ok=not problems,
            subjects=subjects,
            problems=problems,
        )

    def _copy_evidence(self, case: Case, ends: Sequence[dict[str, Any]]) -> None:
        for end in ends:
            to = self._evidence / f"{case.name}-{end['folder']}"
            shutil.copytree(self._stack.folder / ".stack" / "release" / end["folder"], to, dirs_exist_ok=True)


def differences(case: Case, endings: Sequence[str], visits: Visits, subjects: Sequence[str], logged: int) -> list[str]:
    """How endings, requests, mails and NGINX's log differ from what the case expects; empty where nothing differs. Pure."""
    wrong_end = wrong_endings(case, endings)
    checks = {
        wrong_end: bool(wrong_end),
        f"{visits.failed} requests failed: {visits.kinds}": visits.failed > 0,
        f"{len(subjects)} mails instead of {len(case.endings)}: {subjects}": len(subjects) != len(case.endings),
        f"NGINX logged {logged} requests, the client made {visits.requests}": logged != visits.requests,
    }
    return [text for text, differs in checks.items() if differs]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 1 if a case does not end as expected."""
    keep_output()
    options = _options(arguments)
    # A background job of a shell ignores Ctrl-C, and the simulator would inherit that. Ctrl-C is how we stop the simulator.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    evidence = EVIDENCE / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    evidence.mkdir(parents=True)
    try:
        results = _rehearse(select_cases(options.cases), evidence, options.json)
    except RunError as error:
        sys.stderr.write(f"rehearse: {error}\n")
        return 1
    requests, failed = sum(each.requests for each in results), sum(each.failed_requests for each in results)
    passed = sum(each.ok for each in results)
    _print(f"{requests:,} requests, {failed} failed; {passed} of {len(results)} cases ended as expected")
    _print(f"evidence: {evidence}")
    return 0 if passed == len(results) else 1


def _rehearse(cases: Sequence[Case], evidence: Path, report: Path | None) -> list[CaseResult]:
    results: list[CaseResult] = []
    (port,) = reserve()
    mailbox = Mailbox(port)
    mailbox.start()
    with tempfile.TemporaryDirectory(prefix="rehearse-") as name:
        stack = ReleaseStack(Path(name) / "server", "movierec-rehearse", **mail_settings(port))
        try:
            _print("starting the stack")
            stack.start_clean()
            rehearsal = Rehearsal(stack, mailbox, evidence)
            rehearsal.prepare()
            _print(ROW_FORMAT.format("case", "expected", "verdict", "seconds", "requests", "failed", "messages", ""))
            for case in cases:
                results.append(rehearsal.run(case))
                _print(_line(results[-1]))
                if report is not None:
                    rows = RESULTS.dump_python(results, mode="json", by_alias=True)
                    write_synced(report, (json.dumps(rows, indent=2) + "\n").encode())
        finally:
            stack.down()
            mailbox.stop()
    return results


def mail_settings(port: int, host: str = LOOPBACK) -> dict[str, str]:
    """Settings that send each mail to a mailbox on this machine, which listens on `host`."""
    return {"SMTP_HOST": host, "SMTP_PORT": str(port), "MAIL_FROM": "release@example.org", "MAIL_TO": "team@example.org"}


def _line(result: CaseResult) -> str:
    numbers = (f"{result.seconds:.0f}", f"{result.requests:,}", result.failed_requests, result.messages)
    return ROW_FORMAT.format(result.case, result.expected, result.verdict, *numbers, "; ".join(result.problems) or "ok")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [case.name for case in CASES]
    descriptions = "\n".join(f"  {case.name:16} {case.description}: {case.expected}" for case in CASES)
    parser = argparse.ArgumentParser(
        prog="scripts/dev rehearse",
        description=__doc__,
        epilog=f"cases:\n{descriptions}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="the cases to run; all cases if none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file after every case")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.cases) - set(names))
    if unknown:
        parser.error(f"unknown case {', '.join(unknown)}: the cases are {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
