"""What NGINX's log of tries says of a request: a line a request, every try at an upstream in it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.process import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auto_deployment.common.process import Commands

LOGS = "tries*.log"
IN_CONTAINER = "/var/log/nginx"


class Try(NamedTuple):
    """A try at an upstream: who was asked, the status, and the time in seconds, as NGINX writes them; `-` for none."""

    address: str
    status: str
    seconds: str


class Request(NamedTuple):
    """A request as NGINX saw it, with its tries in order."""

    time: str
    request_id: str
    answer_id: str
    status: int
    seconds: float
    tries: list[Try]


def read(lines: Iterable[str], request_id: str) -> list[Request]:
    """The requests of that id, in the order of the lines; lines that are cut or of other requests are passed over."""
    found = []
    for line in lines:
        try:
            told = json.loads(line) if request_id in line else {}
            if told.get("request_id") == request_id:
                found.append(_request(told))
        except (ValueError, KeyError, AttributeError):
            continue
    return found


def lines_in(path: Path, request_id: str) -> list[str]:
    """The lines of a log, or of all logs in a folder, that hold the id."""
    paths = sorted(path.glob(LOGS)) if path.is_dir() else [path]
    found: list[str] = []
    for each in paths:
        with each.open(encoding="utf-8", errors="replace") as file:
            found += [line for line in file if request_id in line]
    return found


def lines_in_stack(commands: Commands, docker: str, request_id: str) -> list[str] | None:
    """The same from the stack's NGINX; None where it does not run."""
    search = f"grep -hF -e {shlex.quote(request_id)} {IN_CONTAINER}/{LOGS} || true"
    try:
        return commands.run(docker, "compose", "exec", "-T", "nginx", "sh", "-c", search).splitlines()
    except CommandError:
        return None


def _request(told: dict[str, object]) -> Request:
    columns = [
        str(told[name]).replace(" : ", ", ").split(", ") for name in ("upstream_addr", "upstream_status", "upstream_time")
    ]
    tries = [Try(*each) for each in zip(*columns, strict=False)] if columns != [[""]] * 3 else []
    time, request_id, answer_id = (str(told[name]) for name in ("time", "request_id", "answer_id"))
    return Request(time, request_id, answer_id, int(str(told["status"])), float(str(told["request_time"])), tries)
