"""Gunicorn's thread worker, changed for a proxy in front: answers in one piece, and no connection to a worker that stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import ThreadWorker

if TYPE_CHECKING:
    from gunicorn.http.message import Request
    from gunicorn.workers.gthread import TConn


class OnePieceWorker(ThreadWorker):  # type: ignore[misc]
    """Sends head and body of an answer with one system call.

    Gunicorn uses two calls. A proxy that has received a head cannot try another server. So a kill -9 between the two calls
    would break the client's answer. With one call, NGINX receives all or nothing, and can try another server.

    Closes its listening sockets as soon as it stops. Gunicorn leaves them open for the two seconds in which a stopping worker
    waits for kept connections. Meanwhile the kernel accepts connections, but no worker serves them.
    """

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - Gunicorn's signature
        """Accept new connections or not. A worker that stops does so for good."""
        alive = self.alive  # a signal may come in between
        super().set_accept_enabled(enabled and alive)
        if not alive:
            for listener in self.sockets:
                listener.close()

    def is_parent_alive(self) -> bool:
        """Whether the master lives. Otherwise the worker stops, as after a signal."""
        lives = bool(super().is_parent_alive())
        if not lives:
            self.alive = False
        return lives

    def handle_request(self, req: Request, conn: TConn) -> bool:
        """Answer one request. The answer is sent when it is complete."""
        sock, conn.sock = conn.sock, _BufferedSocket(conn.sock)
        try:
            keep = bool(super().handle_request(req, conn))
            conn.sock.release()
            return keep
        finally:
            conn.sock = sock


class _BufferedSocket:
    """A socket that buffers the data until `release`."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401 - a plain or a TLS socket
        self._sock = sock
        self._parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self._parts.append(data)

    def release(self) -> None:
        self._sock.sendall(b"".join(self._parts))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a socket has
        return getattr(self._sock, name)
