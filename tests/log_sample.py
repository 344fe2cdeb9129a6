"""`scripts/dev logs [retraining] [release]`: writes the samples of the log again, in `data/sample/`, from a run of each.

The retraining publishes a version of the shipped lines to remotes of its own. The release brings up a stack of its own, with
time compressed, and takes three minutes. Paths and names of this machine are replaced by those that docs/gitlab.md uses.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.provenance import Ledger
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import write_synced
from auto_deployment.common.logs import FILE
from scripts.lib.images.docker import client
from scripts.ports import reserve
from scripts.rehearse.__main__ import mail_settings
from scripts.rehearse.compose_stack import ROOT
from scripts.rehearse.mailbox import Mailbox
from scripts.rehearse.release_stack import ReleaseStack
from tests.integration.checkout import Checkout
from tests.integration.load import Load
from tests.integration.post_office import open_post_office

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FOLDER = ROOT / "data" / "sample"
STREAM = FOLDER / "movielog.log"
RETRAINING, SERVER = "/opt/movierec", "/srv/movierec"
CLIENTS, PAUSE, ENDLESS = 6, 0.03, 10**9
_LINE = re.compile(r"(?P<time>\S+Z) (?P<level>[A-Z]+) +(?P<run>\S+) (?P<logger>[\w.]+): (?P<message>.*)")
_ID = re.compile(r"\b[0-9a-f]{12,64}\b")
# The Compose files that a release names: its first commands run before it has written the second one.
_FILES = re.compile(r"(?<=compose )--project-directory \S+ (?:--file \S+ )+")
_NUMBER = re.compile(r"\d[\d,]*(\.\d+)?")


class Shape(NamedTuple):
    """What two logs of the same work have in common: messages up to ids and numbers.

    `steps` are in order; `commands`, the lines at DEBUG, are a set, as some are repeated until a container or NGINX is ready.
    The standard error of a program is left out: Compose tells its progress there.
    """

    steps: list[str]
    commands: set[str]


def path_of(name: str) -> Path:
    """The file of a sample."""
    return FOLDER / f"{name}.log"


def shape_of(text: str) -> Shape:
    """The shape of a log. Raises ValueError for a line that is none of a log's."""
    shape = Shape([], set())
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"no line of a log: {line!r}")
        message = f"{found['level']} {found['logger']}: {_NUMBER.sub('N', _ID.sub('ID', _FILES.sub('', found['message'])))}"
        if found["level"] == "DEBUG":
            if found["logger"] != "auto_deployment.common.process" or found["message"].startswith("running "):
                shape.commands.add(message)
        else:
            shape.steps.append(message)
    return shape


def last_run(text: str) -> str:
    """The lines of the run that wrote the last one."""
    lines = [found for line in text.splitlines() if (found := _LINE.fullmatch(line)) is not None]
    return "".join(f"{each.group()}\n" for each in lines if each["run"] == lines[-1]["run"])


def cleaned(text: str, names: Mapping[str, str]) -> str:
    """A log without what is this machine's alone: each of `names` replaced, the longest first."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text


def retraining_log(folder: Path) -> str:
    """The log of one retraining, in a new checkout in `folder` with remotes, a database and a mail server of its own."""
    checkout, database = Checkout(folder / "checkout", folder), f"sqlite:///{folder / 'provenance.sqlite'}"
    with closing(Ledger(database)) as ledger, open_post_office() as office:
        ledger.create()
        done = checkout.run("--input", str(STREAM), PROVENANCE_URL=database, LOG_DIR="logs", **office.environment)
    if done.returncode:
        raise RunError(f"the retraining ended with {done.returncode}: {done.stderr}")
    names = {str(checkout.folder): RETRAINING, sys.executable: "python"}
    return cleaned(last_run((checkout.folder / "logs" / FILE).read_text()), names)


def release_log(stack: ReleaseStack) -> str:
    """The log of the last command that released to a stack."""
    names = {
        str(stack.folder): SERVER,
        client(): "/usr/bin/docker",
        f"{stack.name}-shadow": "movierec-shadow",
        f"{stack.name}_front": "movierec_front",
        stack.name: "movierec-app",
    }
    return cleaned(last_run((stack.folder / "logs" / FILE).read_text()), names)


def _release() -> str:
    """The log of the first release to a new stack, under requests."""
    (port,) = reserve()
    mailbox = Mailbox(port)
    mailbox.start()
    with tempfile.TemporaryDirectory(prefix="logs-") as name:
        stack = ReleaseStack(Path(name) / "server", "movierec-logs", **mail_settings(port))
        try:
            stack.start_clean()
            stack.put_version(1)
            load = Load(stack.port, ENDLESS, CLIENTS, PAUSE)
            load.start()
            try:
                status, output = stack.deploy("release")
            finally:
                load.stop()
            if status:
                raise RunError(f"the release ended with {status}: {output}")
            return release_log(stack)
        finally:
            stack.down()
            mailbox.stop()


def _retraining() -> str:
    with tempfile.TemporaryDirectory(prefix="logs-") as name:
        return retraining_log(Path(name))


MAKERS: Mapping[str, Callable[[], str]] = {"retraining": _retraining, "release": _release}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a run does not end as it should."""
    parser = argparse.ArgumentParser(prog="scripts/dev logs", description="writes the samples of the log again")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {' or '.join(MAKERS)}; without one, both")
    names = parser.parse_args(arguments).names or list(MAKERS)
    if unknown := sorted(set(names) - set(MAKERS)):
        parser.error(f"no sample {', '.join(unknown)}: there are {', '.join(MAKERS)}")
    for name in names:
        try:
            text = MAKERS[name]()
        except RunError as error:
            sys.stderr.write(f"logs: {error}\n")
            return error.status
        write_synced(path_of(name), text.encode())
        sys.stdout.write(f"{path_of(name).relative_to(ROOT)}: {len(text.splitlines())} lines\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
