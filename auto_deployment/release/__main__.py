"""`scripts/deploy.sh COMMAND`: releases, and the requests of operators."""

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
from auto_deployment.common.console_files import publish_settings
from auto_deployment.common.errors import RefusedError, RunError
from auto_deployment.common.lock import LockedError, is_held, locked
from auto_deployment.common.logs import configure, secrets_of
from auto_deployment.common.output import keep_output
from auto_deployment.common.process import Commands
from auto_deployment.common.prometheus import Prometheus
from auto_deployment.common.settings import load_settings
from auto_deployment.common.signals import Stop, StoppedError
from auto_deployment.release import operator_requests, preflight, state
from auto_deployment.release.completion import settle
from auto_deployment.release.context import ReleaseContext
from auto_deployment.release.controller import Controller
from auto_deployment.release.shadow import shadow
from auto_deployment.release.stack import Stack
from auto_deployment.release.state_machine import EXIT_STATUS, Ending, OperatorRequest
from auto_deployment.release.status import gather, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

log = logging.getLogger(__name__)

DEPLOY = "scripts/deploy.sh"
CODE = Path(__file__).resolve().parents[2]
# A running release may end between the moment it is found and the moment it gets the request.
ATTEMPTS = 5
PAUSE = 2.0
# Mail and Slack, three tries each.
SETTLE_SECONDS = 240.0


class DeployCommand:
    """One call of the command."""

    def __init__(self, context: ReleaseContext, options: argparse.Namespace) -> None:
        self._context = context
        self._options = options
        self._who = options.by
        self._lock = context.folder / state.LOCK

    def release(self) -> int:
        """Release the version in the tree, after what was left under way. A running older release gets a request instead."""
        version = preflight.version_in_tree(self._context.settings.data_dir)
        for _ in range(ATTEMPTS):
            try:
                return self._release(version)
            except LockedError:
                running = state.load(self._context.folder).under_way
                if running is None:
                    self._wait_for_settling()
                    continue
                if version <= running.version:
                    raise
                if self._is_acknowledged(self._request(version)):
                    return 0
        return self._release(version)

    def _wait_for_settling(self) -> None:
        """Wait for a call that finds nothing to continue: it holds the lock while it notifies people of an end."""
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            time.sleep(PAUSE)
            if not is_held(self._lock) or state.load(self._context.folder).under_way is not None:
                return

    def _request(self, version: int) -> OperatorRequest:
        """The request to a running release."""
        options = (("--again", self._options.again), ("--no-shadow", self._options.no_shadow))
        return OperatorRequest("release", self._who, version, tuple(name for name, is_given in options if is_given))

    def _release(self, version: int) -> int:
        with self._locked(f"release of version {version}"):
            self._finish_left(self._request(version))
            operator_requests.drop(self._context.folder)
            if not preflight.release(
                self._context, version, self._who, again=self._options.again, shadow=not self._options.no_shadow
            ):
                sys.stdout.write(f"version {version} is in service already: there is nothing to do\n")
                return 0
            status = self._run()
            newer = self._newer()
        return self._begin(newer) if newer else status

    def resume(self) -> int:
        """Continue what a killed run left, and handle its open requests."""
        left = state.load(self._context.folder).under_way
        what = "a check for what is to be resumed" if left is None else f"{left.kind} of version {left.version}, resumed"
        with self._locked(what):
            settle(self._context)
            status = self._run() if state.load(self._context.folder).under_way else 0
            newer = self._newer()
        sys.stdout.write("nothing is under way any more\n")
        return self._begin(newer) if newer else status

    def abort(self) -> int:
        """Take back the version under way."""
        return self._order(OperatorRequest("abort", self._who))

    def promote(self) -> int:
        """Promote the version under way without the rest of its bake."""
        return self._order(OperatorRequest("promote", self._who))

    def rollback(self) -> int:
        """Put a former version in service again."""
        with self._locked(f"rollback to version {self._options.version or 'before'}"):
            settle(self._context)
            if state.load(self._context.folder).under_way is None:
                operator_requests.drop_orders(self._context.folder)
            preflight.rollback(self._context, self._options.version, self._who)
            return self._run()

    def status(self) -> int:
        """Print the status, even if no engine answers."""
        sys.stdout.write(text_of(gather(self._context, time.time()), as_json=self._options.json))
        return 0

    def _locked(self, action: str) -> AbstractContextManager[None]:
        """Hold the lock of releases. Raises LockedError."""
        name = f"{action} by {self._who}, process {os.getpid()}"
        return locked(self._lock, "another release holds the lock", name=name)

    def _order(self, request: OperatorRequest) -> int:
        """Submit the request to the running release, or else carry it out."""
        if state.load(self._context.folder).under_way is None:
            raise RefusedError(f"no release is under way: there is nothing to {request.action}")
        try:
            with self._locked(request.action):
                operator_requests.submit(self._context.folder, request)
                return _done(request, self._run())
        except LockedError:
            if self._is_acknowledged(request):
                return 0
        raise RunError(
            f"the running release ended, or did not listen, before it was asked to {request.action}: see {DEPLOY} status"
        )

    def _is_acknowledged(self, request: OperatorRequest) -> bool:
        """Submit a request to the running release; whether the release acknowledged it before it ended."""
        path = operator_requests.submit(self._context.folder, request)
        try:
            acknowledged = operator_requests.wait_acknowledged(path, lambda: is_held(self._lock))
        finally:  # a command that no longer waits withdraws its request
            path.unlink(missing_ok=True)
        if acknowledged:
            sys.stdout.write(f"the running release was asked: {request.action}\n")
        return acknowledged

    def _finish_left(self, newer: OperatorRequest) -> None:
        """Finish what a killed run left: superseded by the newer version where that is possible."""
        settle(self._context)
        left = state.load(self._context.folder).under_way
        if left is None:
            return
        if newer.version > left.version:
            operator_requests.submit(self._context.folder, newer)
        self._run()

    def _run(self) -> int:
        return EXIT_STATUS[Controller(self._context, Stop()).run().ending]

    def _newer(self) -> OperatorRequest | None:
        """The release that was requested meanwhile. It is acknowledged before the lock is free for another command."""
        for request in operator_requests.pending(self._context.folder):
            if request.action == "release":
                operator_requests.acknowledge(self._context.folder, request)
        return operator_requests.next_release(self._context.folder)

    def _begin(self, request: OperatorRequest) -> int:
        """Replace this process by one of the code that came with the requested version: that process releases it."""
        sys.stdout.flush()
        command = str(self._context.root / DEPLOY)
        os.execv(command, [command, "release", "--by", request.who, *request.options])  # noqa: S606 - our own script


def _done(order: OperatorRequest, status: int) -> int:
    """The exit status of an order, given the status of its run: 0 where the run ended as ordered."""
    if status == EXIT_STATUS[Ending.ABORTED if order.action == "abort" else Ending.PROMOTED]:
        return 0
    return status or RefusedError.status


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    options = _options(arguments)
    try:
        return int(getattr(DeployCommand(_release_context(options), options), options.command)())
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


def _release_context(options: argparse.Namespace) -> ReleaseContext:
    settings, root = load_settings(), Path.cwd()
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    configure(settings.log_dir, run_id, logging.WARNING, secrets_of(settings))
    channels = []
    if options.command != "status":
        channels = notify.open_channels(settings)
        publish_settings(settings)
    docker, runner = os.environ.get("DOCKER", "docker"), Commands(root, apart=True)
    stack = Stack(root, docker, runner, settings.app_image, compose_file=compose_file(os.environ, root), fresh=settings.fresh)
    return ReleaseContext(settings, root, root / state.FOLDER, stack, Prometheus(settings.prometheus_url), channels, shadow)


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
    for name, description in (
        ("promote", "promote what bakes, now"),
        ("abort", "take back what is under way"),
        ("resume", "continue what a killed run left"),
    ):
        commands.add_parser(name, parents=[by], help=description)
    commands.add_parser("rollback", parents=[by], help="have a former version in service again").add_argument(
        "version", type=int, nargs="?", help="which; else the one before"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
