"""`scripts/provenance`: what was served to whom, by which version, trained when, on which data, by which commit, and why."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import __version__
from app.provenance import DatabaseError
from app.provenance.archive import Archive
from auto_deployment.common.console_files import publish_chain
from auto_deployment.common.errors import RunError, WrongUseError, first_line
from auto_deployment.common.settings import load_settings
from auto_deployment.common.templates import render
from auto_deployment.provenance import backups, listing
from auto_deployment.provenance.chain import gather
from auto_deployment.provenance.replay import find_engine, replay
from auto_deployment.provenance.sections import sections, text
from auto_deployment.provenance.version_files import VersionFiles
from auto_deployment.versioning.repository import Places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.provenance.archive import Traced
    from auto_deployment.common.settings import Settings

CACHE = Path(".cache") / "versions"
NOT_SAME = 1
INTERRUPTED = 130


class SeveralError(WrongUseError):
    """An id stands for several answers, which `lines` list."""

    def __init__(self, text: str, lines: Sequence[str]) -> None:
        super().__init__(text)
        self.lines = lines


class Subcommands:
    """The subcommands by name. Each prints its result, and returns the exit status."""

    def __init__(self, archive: Archive, settings: Settings, options: argparse.Namespace) -> None:
        self._archive = archive
        self._settings = settings
        self._options = options
        self._files = VersionFiles(Places(Path.cwd(), settings.data_dir.absolute()), settings.dvc_remote, Path.cwd() / CACHE)

    def user(self) -> int:
        """All answers to a user."""
        return self._listed(self._archive.find("user_id", _number(self._options.id, "a user")))

    def request(self) -> int:
        """All answers to a request."""
        return self._listed(self._archive.find("request_id", self._options.id))

    def version(self) -> int:
        """The version's row, its commit and its answers."""
        number = _number(self._options.id, "a version")
        row, commit = self._archive.version(number), self._files.commit(number)
        try:
            served = self._archive.served_by(number)
        except DatabaseError as error:
            served, problem = [], f"not counted: {first_line(error)}"
        else:
            problem = ""
        if row is None and commit is None and not served and not problem:
            raise RunError(f"neither the database nor git has a version {number}")
        columns = {name: listing.json_value(value) for name, value in (row or {"version_number": number}).items()}
        content = {**columns, "commit": commit, "served": [listing.as_dict(each) for each in served]}
        self._print(content, listing.version_lines(number, row, problem or served, commit))
        return 0

    def replay(self) -> int:
        """Compute an answer again, and compare it with the recorded one."""
        answer = self._one()
        here = self._options.here or self._options.demo
        computed = replay(
            answer, self._archive.list_source(answer), self._files, None if here else find_engine(self._settings.app_image)
        )
        same = computed.equals(answer)
        lines = [
            f"answer {answer.answer_id} to user {answer.user_id}, version {answer.version_number}",
            f"computed again by {computed.by}",
            f"  recorded  {answer.digest}  {answer.step}",
            f"  computed  {computed.digest}  {computed.step}",
            f"{'equal to the byte' if same else 'NOT EQUAL'}: {computed.body}",
        ]
        self._print({"answer": listing.as_dict(answer), "computed": computed._asdict(), "same": same}, lines)
        return 0 if same else NOT_SAME

    def why(self) -> int:
        """The whole chain."""
        answer, options = self._one(), self._options
        log = options.tries or (options.demo and options.demo / "nginx" / "logs")
        engine, here = find_engine(self._settings.app_image), options.here or bool(options.demo)
        chain = gather(answer, self._archive.list_source(answer), self._files, engine, log, here=here)
        if options.html is not None:
            options.html.write_text(render("provenance/answer.html", chain=chain, sections=sections(chain)), encoding="utf-8")
        if options.console:
            publish_chain(self._settings.log_dir, answer.answer_id, chain.model_dump(mode="json"))
        self._print(chain.model_dump(), text(chain))
        return 0

    def backup(self) -> int:
        """Write all answers and versions to a file."""
        path = Path(self._options.id)
        backups.backup(self._archive, path)
        sys.stdout.write(f"{backups.check(path):,} answers in {path}\n")
        return 0

    def restore(self) -> int:
        """Add what a backup has and the database lacks."""
        path = Path(self._options.id)
        answers = backups.check(path)
        if self._settings.provenance_url is not None:
            result = backups.restore_into(self._archive, path)
        else:
            engine = find_engine(self._settings.app_image)
            if engine is None:
                raise RunError("the stack's migrate service restores, and no engine answers: start it (scripts/dev engine)")
            result = backups.restore_in_stack(engine.docker, Path.cwd(), path)
        sys.stdout.write(f"{path} holds {answers:,} answers: {result}\n")
        return 0

    def _one(self) -> Traced:
        """The answer with this answer id, or the only answer with this request id."""
        name = self._options.id
        found = self._archive.find("answer_id", name) or self._archive.find("request_id", name)
        if not found:
            raise RunError(f"no answer and no request {name}: is it shipped yet, or older than PROVENANCE_KEEP_DAYS?")
        if len(found) > 1:
            raise SeveralError(
                f"request {name} has {len(found)} answers: name one by its answer id", listing.answer_lines(found)
            )
        return found[0]

    def _listed(self, found: Sequence[Traced]) -> int:
        if not found:
            raise RunError(f"nothing was served to {self._options.command} {self._options.id}, as far as is kept")
        self._print([listing.as_dict(each) for each in found], listing.answer_lines(found))
        return 0

    def _print(self, value: Any, lines: Sequence[str]) -> None:  # noqa: ANN401 - any JSON value
        printed = [json.dumps(value, indent=2)] if self._options.json else lines
        sys.stdout.write("".join(f"{line}\n" for line in printed))
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    options = _options(arguments)
    try:
        settings = load_settings(**_demo(options.demo))
        if settings.database_url is None:
            hint = f"Of the demo: scripts/provenance {options.command} ID --demo"
            raise WrongUseError(f"there is no database: start the stack, or set MYSQL_USER. {hint}")
        with closing(Archive(settings.database_url)) as archive:
            return int(getattr(Subcommands(archive, settings, options), options.command)())
    except SeveralError as error:
        sys.stdout.write("".join(f"{line}\n" for line in error.lines))
        sys.stderr.write(f"provenance: {error}\n")
        return error.status
    except DatabaseError as error:
        sys.stderr.write(f"provenance: the database does not answer: {first_line(error)}\n")
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"provenance: {error.filename}: {error.strerror}\n")
    except RunError as error:
        sys.stderr.write(f"provenance: {error}\n")
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/provenance", description=__doc__)
    parser.add_argument("--version", action="version", version=f"movierec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, meta, summary in (
        ("user", "ID", "the answers to a user, with their versions"),
        ("request", "ID", "the answers to a request"),
        ("version", "N", "the data of a version, and what it served"),
        ("replay", "ID", "compute an answer again (answer or request id) and compare it to the byte"),
        ("why", "ID", "the whole chain behind an answer (answer or request id)"),
        ("backup", "FILE", "write all answers and versions to a new file"),
        ("restore", "FILE", "add what a backup has and the database lacks"),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("id", metavar=meta)
        command.add_argument("--demo", metavar="FOLDER", type=Path, nargs="?", const=Path(".demo"), help="the demo's database")
        command.add_argument("--json", action="store_true", help="for programs")
        if name in ("replay", "why"):
            command.add_argument("--here", action="store_true", help="compute by the code at hand, not in the released image")
        if name == "why":
            command.add_argument("--html", metavar="FILE", type=Path, help="write the chain as one page, too")
            command.add_argument("--console", action="store_true", help="show the chain in the console, too")
            command.add_argument("--tries", metavar="LOG", type=Path, help="NGINX's log of tries, or a folder of them")
    return parser.parse_args(arguments)


def _demo(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    if not (folder / "provenance.sqlite").exists():
        raise WrongUseError(f"{folder} holds no demo: scripts/dev demo makes one")
    return {
        "provenance_url": f"sqlite:///{folder / 'provenance.sqlite'}",
        "data_dir": folder / "data",
        "log_dir": folder / "logs",
    }


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**63):
        raise WrongUseError(f"{text[:40]!r} is not {what}: a whole number below 2^63")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
