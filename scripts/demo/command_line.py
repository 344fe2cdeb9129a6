"""What the command lines of demo and tour share: the two ports, the exit status, and the end by a signal."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from auto_deployment.common.errors import RunError
from auto_deployment.common.signals import StoppedError
from scripts.demo.settings import require_free

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HIGHEST_PORT = 65535


def add_ports(parser: argparse.ArgumentParser) -> None:
    """Add the options of both ports."""
    parser.add_argument("--port", type=int, default=8082, help="NGINX's port (8082)")
    parser.add_argument("--console-port", type=int, help="the console's port (the one after --port)")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. A wrong port ends the program with status 2."""
    options = parser.parse_args(arguments)
    if options.console_port is None:
        options.console_port = options.port + 1
    for name, port in _ports(options):
        if not 0 < port <= HIGHEST_PORT:
            parser.error(f"{name} {port}: a port lies between 1 and {HIGHEST_PORT}")
    return options


def require_free_ports(options: argparse.Namespace) -> None:
    """Raise RunError if one of both ports is taken."""
    for name, port in _ports(options):
        require_free(name, port)


def run_to_status(name: str, work: Callable[[], None]) -> int:
    """Do the work of a command. Returns its exit status; the error of a failure is a line on standard error."""
    try:
        work()
    except StoppedError as stopped:
        return stopped.status
    except RunError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return error.status
    return 0


def raise_on_signals() -> None:
    """Have Ctrl-C, TERM and a closed terminal raise StoppedError, once."""
    for each in SIGNALS:
        signal.signal(each, _stop)


def ignore_signals() -> None:
    """Let nothing interrupt what stops the program."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _stop(number: int, _frame: object) -> NoReturn:
    ignore_signals()
    raise StoppedError(number)


def _ports(options: argparse.Namespace) -> list[tuple[str, int]]:
    return [("--port", options.port), ("--console-port", options.console_port)]
