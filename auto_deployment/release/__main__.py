"""`scripts/deploy.sh COMMAND`: a release, and what operators ask of one."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app import __version__
from app.env_file import read_env_file
from auto_deployment import notify
from auto_deployment.common.errors import RefusedError, RunError
from auto_deployment.common.logs import configure, secrets_of
from auto_deployment.common.output import keep_output
from auto_deployment.common.process import Commands
from auto_deployment.common.prometheus import Prometheus
from auto_deployment.common.settings import load_settings
from auto_deployment.common.signals import Stop, StoppedError
from auto_deployment.release import preflight, requests, state
from auto_deployment.release.completion import settle
from auto_deployment.release.context import Tools
from auto_deployment.release.controller import Controller
from auto_deployment.release.lock import LockedError, held, is_held
from auto_deployment.release.shadow import shadow
from auto_deployment.release.stack import Stack
from auto_deployment.release.state_machine import EXIT_STATUS, Ending, Request
from auto_deployment.release.status import gather, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

DEPLOY = "scripts/deploy.sh"
CODE = Path(__file__).resolve().parents[2]
# Runs that may end between being found and being asked.
TURNS = 5
PAUSE = 2.0
# Mail and Slack, three tries each.
LOOK_SECONDS = 240.0


class Front:
    """One call of the command."""

    def __init__(self, tools: Tools, options: argparse.Namespace) -> None:
        self._tools = tools
        self._options = options
        self._who = options.by

    def release(self) -> int:
        """Release the version in the tree; what was left under way comes first. Given to the running one where it is newer."""
        version = preflight.version_in_tree(self._tools.settings.data_dir)
        for _ in range(TURNS):
            try:
                return self._release(version)
            except LockedError:
                running = state.load(self._tools.folder).under_way
                if running is None:
                    self._wait_for_look()
                    continue
                if version <= running.version:
                    raise
                if self._is_taken(self._wanted(version)):
                    return 0
        return self._release(version)

    def _wait_for_look(self) -> None:
        """A look that finds nothing to continue holds the lock for a moment, or while it notifies people of an end."""
        until = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < until:
            time.sleep(PAUSE)
            if not is_held(self._tools.folder) or state.load(self._tools.folder).under_way is not None:
                return

    def _wanted(self, version: int) -> Request:
        """The request to a release that is running."""
        told = (("--again", self._options.again), ("--no-shadow", self._options.no_shadow))
        return Request("release", self._who, version, tuple(name for name, is_given in told if is_given))

    def _release(self, version: int) -> int:
        with held(self._tools.folder, f"release of version {version} by {self._who}"):
            self._go_on(self._wanted(version))
            requests.drop(self._tools.folder)
            if not preflight.release(
                self._tools, version, self._who, again=self._options.again, shadow=not self._options.no_shadow
            ):
                sys.stdout.write(f"version {version} is in service already: there is nothing to do\n")
                return 0
            status = self._run()
            newer = self._newer()
        return self._begin(newer) if newer else status

    def resume(self) -> int:
        """Continue what a killed run left, and its open requests."""
        left = state.load(self._tools.folder).under_way
        what = "a look for what is to be resumed" if left is None else f"{left.kind} of version {left.version}, resumed"
        with held(self._tools.folder, f"{what} by {self._who}"):
            settle(self._tools)
            status = self._run() if state.load(self._tools.folder).under_way else 0
            newer = self._newer()
        sys.stdout.write("nothing is under way any more\n")
        return self._begin(newer) if newer else status

    def abort(self) -> int:
        """Take back what is under way."""
        return self._order(Request("abort", self._who))

    def promote(self) -> int:
        """Promote what is under way without the rest of its bake."""
        return self._order(Request("promote", self._who))

    def rollback(self) -> int:
        """Have a former version in service again."""
        with held(self._tools.folder, f"rollback to version {self._options.version or 'before'} by {self._who}"):
            settle(self._tools)
            if state.load(self._tools.folder).under_way is None:
                requests.drop_orders(self._tools.folder)
            preflight.rollback(self._tools, self._options.version, self._who)
            return self._run()

    def status(self) -> int:
        """Print what there is, even if no engine answers."""
        told = gather(self._tools, time.time())
        sys.stdout.write(text_of(told, as_json=self._options.json))
        return 0

    def _order(self, request: Request) -> int:
        """Left with the running one, or else done by this one."""
        if state.load(self._tools.folder).under_way is None:
            raise RefusedError(f"no release is under way: there is nothing to {request.wish}")
        try:
            with held(self._tools.folder, f"{request.wish} by {self._who}"):
                requests.leave(self._tools.folder, request)
                return _done(request, self._run())
        except LockedError:
            if self._is_taken(request):
                return 0
        raise RunError(
            f"the running release ended, or did not listen, before it was asked to {request.wish}: see {DEPLOY} status"
        )

    def _is_taken(self, request: Request) -> bool:
        """Leave a request with the running release; whether it took it before it ended."""
        path = requests.leave(self._tools.folder, request)
        try:
            taken = requests.wait_taken(path, lambda: is_held(self._tools.folder))
        finally:  # a client that no longer waits has withdrawn its request
            path.unlink(missing_ok=True)
        if taken:
            sys.stdout.write(f"the running release was asked: {request.wish}\n")
        return taken

    def _go_on(self, newer: Request) -> None:
        """Bring to an end what a killed run left: given up for the newer version where that is possible."""
        settle(self._tools)
        left = state.load(self._tools.folder).under_way
        if left is None:
            return
        if newer.version > left.version:
            requests.leave(self._tools.folder, newer)
        self._run()

    def _run(self) -> int:
        return EXIT_STATUS[Controller(self._tools, Stop()).run().ending]

    def _newer(self) -> Request | None:
        """The release that was asked for meanwhile, taken under the lock: who asked sees it taken before the lock is free."""
        for request in requests.pending(self._tools.folder):
            if request.wish == "release":
                requests.take(self._tools.folder, request)
        return requests.next_release(self._tools.folder)

    def _begin(self, wanted: Request) -> int:
        """Another process, of the code that came with it, releases the version that was asked for meanwhile."""
        sys.stdout.flush()
        command = str(self._tools.root / DEPLOY)
        os.execv(command, [command, "release", "--by", wanted.who, *wanted.options])  # noqa: S606 - our own script


def _done(order: Request, status: int) -> int:
    """The exit status of an order, of that of the run that heard it: 0 where it ended as was asked."""
    if status == EXIT_STATUS[Ending.ABORTED if order.wish == "abort" else Ending.PROMOTED]:
        return 0
    return status or RefusedError.status


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    options = _options(arguments)
    try:
        return int(getattr(Front(_tools(options), options), options.command)())
    except StoppedError as stopped:
        sys.stderr.write(f"deploy.sh: stopped between two steps: {DEPLOY} resume goes on\n")
        return stopped.status
    except RunError as error:
        sys.stderr.write(f"deploy.sh: {error}\n")
        return error.status
    except OSError as error:
        log.exception("the release's files")
        sys.stderr.write(f"deploy.sh: {error}: mend that, and {DEPLOY} resume goes on\n")
        return RunError.status


def compose_file(environment: Mapping[str, str], root: Path) -> Path | None:
    """The copy of docker-compose.yml in this code; None for the checkout's own code, and where COMPOSE_FILE is set."""
    if "MOVIEREC_RUN" not in environment or {**read_env_file(root / ".env"), **environment}.get("COMPOSE_FILE"):
        return None
    return CODE / "docker-compose.yml"


def _tools(options: argparse.Namespace) -> Tools:
    settings, root = load_settings(), Path.cwd()
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    configure(settings.log_dir, run_id, logging.WARNING, secrets_of(settings))
    channels = [] if options.command == "status" else notify.open_channels(settings)
    docker, runner = os.environ.get("DOCKER", "docker"), Commands(root, apart=True)
    stack = Stack(root, docker, runner, settings.app_image, compose_file=compose_file(os.environ, root))
    return Tools(settings, root, root / state.FOLDER, stack, Prometheus(settings.prometheus_url), channels, shadow)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=DEPLOY, description="releases, and what operators ask of one")
    parser.add_argument("--version", action="version", version=f"movierec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    by = argparse.ArgumentParser(add_help=False)
    by.add_argument(
        "--by", metavar="WHO", default=f"{getpass.getuser()}@{socket.gethostname()}", help="who asks, for the record"
    )
    release = commands.add_parser("release", parents=[by], help="build, shadow, bake and promote the version in the tree")
    release.add_argument("--again", action="store_true", help="even if the version was taken back before")
    release.add_argument("--no-shadow", action="store_true", help="let it bake without having been tried in the shadow")
    commands.add_parser("status", parents=[by], help="what runs where, what is under way, how the last one ended").add_argument(
        "--json", action="store_true", help="the same as data"
    )
    for name, told in (
        ("promote", "promote what bakes, now"),
        ("abort", "take back what is under way"),
        ("resume", "continue what a killed run left"),
    ):
        commands.add_parser(name, parents=[by], help=told)
    commands.add_parser("rollback", parents=[by], help="have a former version in service again").add_argument(
        "version", type=int, nargs="?", help="which; else the one before"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
