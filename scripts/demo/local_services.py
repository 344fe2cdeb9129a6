"""Two stable services, one canary, the shipper, the console and NGINX, as processes of this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.provenance import Ledger
from auto_deployment.common.errors import RunError
from auto_deployment.common.http import is_ready
from scripts.demo.nginx import Upstream, find_nginx, prepare
from scripts.demo.processes import Process, Processes
from scripts.demo.settings import console, fresh, gunicorn, services, shipper

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.demo.settings import DemoFolder, Follow

READY_SECONDS = 30.0


class LocalServices:
    """The processes for the model in `demo.data`, with everything they write in `demo.folder`."""

    def __init__(
        self,
        demo: DemoFolder,
        port: int,
        console_port: int,
        report: Callable[[str], None],
        follow: Follow | None = None,
    ) -> None:
        """NGINX will listen on `port`. `report` gets a line for each restart. New lines of `follow` count at once.

        Raises RunError without an NGINX that runs.
        """
        self.services = services()
        self.ledger = Ledger(demo.provenance_url)
        self._demo = demo
        self._port, self._console_port = port, console_port
        self._binary = find_nginx()
        self._report = report
        self._follow = follow
        self._processes: Processes | None = None

    def start(self) -> None:
        """Start all and wait until they answer. Raises RunError if one does not."""
        for folder in (self._demo.logs, self._demo.journals, self._demo.pids):
            folder.mkdir()
        self.ledger.create()
        self._processes = processes = Processes(self._commands(), self._report)
        processes.start("shipper", "fresh", *(service.name for service in self.services))
        _wait_ready([service.address for service in self.services], processes)
        # NGINX starts last: without a running service it would eject all services for a while.
        processes.start("console", "nginx")
        _wait_ready([f"127.0.0.1:{self._port}"], processes)

    def restart_dead(self) -> None:
        """Restart dead processes. Raises RunError if a process dies too often."""
        if self._processes is not None:
            self._processes.restart_dead()

    def stop(self) -> None:
        """End all that was started."""
        if self._processes is not None:
            self._processes.stop()
        self.ledger.close()

    def _commands(self) -> list[Process]:
        """All processes in the order of their start: the shipper first, NGINX last."""
        demo, follow = self._demo, self._follow
        servers = [Upstream(service.address, service.weight, service.track) for service in self.services]
        return [
            Process("shipper", *shipper(demo), demo.logs, demo.pids),
            *([] if follow is None else [Process("fresh", *fresh(follow, demo), demo.logs, demo.pids)]),
            *(
                Process(each.name, *gunicorn(each, demo, follows=follow is not None), demo.logs, demo.pids)
                for each in self.services
            ),
            Process("console", *console(self._console_port, demo), demo.logs, demo.pids),
            Process("nginx", prepare(demo.nginx, self._port, servers, self._binary), {}, demo.logs, demo.pids),
        ]


def _wait_ready(waiting: list[str], processes: Processes) -> None:
    until = time.monotonic() + READY_SECONDS
    while waiting := [address for address in waiting if not is_ready(f"http://{address}", seconds=2)]:
        processes.fail_on_death()
        if time.monotonic() > until:
            raise RunError(f"not ready within {READY_SECONDS:g} s: {', '.join(waiting)}; see the logs in the demo's folder")
        time.sleep(0.1)
