"""NGINX's log of tries. A line of the log has one request, with every try at an upstream."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auto_deployment.common.process import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auto_deployment.common.process import Commands

LOGS = "tries*.log"
IN_CONTAINER = "/var/log/nginx"


@dataclass(frozen=True)
class Try:
    """A try at an upstream: its address, the status and the time in seconds, as NGINX writes them. `-` stands for none."""

    address: str
    status: str
    seconds: str


@dataclass(frozen=True)
class LoggedRequest:
    """A request in NGINX's log, with its tries in order. `seconds` is the time of the whole request."""

    time: str
    request_id: str
    answer_id: str
    status: int
    seconds: float
    tries: list[Try]


def read(lines: Iterable[str], request_id: str) -> list[LoggedRequest]:
    """The requests with this id, in the order of the lines. Cut lines and lines of other requests are skipped."""
    found = []
    for line in lines:
        try:
            content = json.loads(line) if request_id in line else {}
            if content.get("request_id") == request_id:
                found.append(_request(content))
        except (ValueError, KeyError, AttributeError):
            continue
    return found


def lines_in(path: Path, request_id: str) -> list[str]:
    """The lines with the id in a log, or in all logs of a folder."""
    paths = sorted(path.glob(LOGS)) if path.is_dir() else [path]
    found: list[str] = []
    for each in paths:
        with each.open(encoding="utf-8", errors="replace") as file:
            found += [line for line in file if request_id in line]
    return found


def lines_in_stack(commands: Commands, docker: str, request_id: str) -> list[str] | None:
    """The lines with the id in the logs of the stack's NGINX. None if NGINX does not run."""
    search = f"grep -hF -e {shlex.quote(request_id)} {IN_CONTAINER}/{LOGS} || true"
    try:
        return commands.run(docker, "compose", "exec", "-T", "nginx", "sh", "-c", search).splitlines()
    except CommandError:
        return None


def _request(content: dict[str, object]) -> LoggedRequest:
    columns = [
        str(content[name]).replace(" : ", ", ").split(", ") for name in ("upstream_addr", "upstream_status", "upstream_time")
    ]
    tries = [Try(*each) for each in zip(*columns, strict=False)] if columns != [[""]] * 3 else []
    time, request_id, answer_id = (str(content[name]) for name in ("time", "request_id", "answer_id"))
    return LoggedRequest(
        time=time,
        request_id=request_id,
        answer_id=answer_id,
        status=int(str(content["status"])),
        seconds=float(str(content["request_time"])),
        tries=tries,
    )
