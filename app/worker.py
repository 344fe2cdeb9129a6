"""Gunicorn's thread worker, with each answer sent in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import ThreadWorker

if TYPE_CHECKING:
    from gunicorn.http.message import Request
    from gunicorn.workers.gthread import TConn


class OnePieceWorker(ThreadWorker):  # type: ignore[misc]
    """Sends head and body of an answer with one system call.

    Gunicorn sends them with two. A proxy that has got a head cannot try another server. A kill -9 between head and body would
    then reach the client. In one piece an answer arrives whole or not at all, and NGINX tries again.
    """

    def handle_request(self, req: Request, conn: TConn) -> bool:
        """Answer one request, holding back what is sent until it is whole."""
        sock, conn.sock = conn.sock, _Held(conn.sock)
        try:
            keep = bool(super().handle_request(req, conn))
            conn.sock.release()
            return keep
        finally:
            conn.sock = sock


class _Held:
    """A socket that keeps what is sent until it is released."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401 - a plain or a TLS socket
        self._sock = sock
        self._parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self._parts.append(data)

    def release(self) -> None:
        self._sock.sendall(b"".join(self._parts))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a socket has
        return getattr(self._sock, name)
