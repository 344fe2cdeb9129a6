"""Many clients at once against a running system, each over a connection that it keeps."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 5.0


@dataclass
class Load:
    """`clients` threads ask for `requests` lists in all.

    What came back stands in `statuses`, `versions`, `failures` and `answer_ids`.

    Between two requests a client waits for `pause` seconds: without, so many of them saturate a small machine.
    """

    port: int
    requests: int
    clients: int = 16
    pause: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    answer_ids: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Begin, in the background."""
        self._left = iter(range(self.requests))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        """Whether there is still something to ask."""
        return any(thread.is_alive() for thread in self._threads)

    def done(self) -> int:
        """How many requests have ended."""
        return self.statuses.total() + len(self.failures)

    def stop(self) -> None:
        """Ask no more, and wait for what is under way."""
        with self._lock:
            self._left = iter(())
        self.finish()

    def finish(self, seconds: float = 300.0) -> None:
        """Wait until all requests are sent."""
        for thread in self._threads:
            thread.join(seconds)
        assert not self.running(), "the load did not end"

    def _client(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)) as connection:
            while (user := self._next()) is not None:
                self._ask(connection, user)
                time.sleep(self.pause)

    def _ask(self, connection: http.client.HTTPConnection, user: int) -> None:
        try:
            connection.request("GET", f"/recommend/{user}")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._note(failure=f"{user}: {error!r}")
            return
        if response.status == 200 and body:
            self._note(status=200, answer_id=response.headers["X-Answer-ID"], version=response.headers["X-Model-Version"])
        else:
            self._note(failure=f"{user}: {response.status} {body[:80]!r}")

    def _next(self) -> int | None:
        with self._lock:
            return next(self._left, None)

    def _note(
        self, *, failure: str | None = None, status: int | None = None, answer_id: str | None = None, version: str = ""
    ) -> None:
        with self._lock:
            if failure is not None:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {failure}")
            if status is not None:
                self.statuses[status] += 1
                self.versions[version] += 1
            if answer_id is not None:
                self.answer_ids.append(answer_id)
