"""A mail server for rehearsals, the tour and tests. It keeps the mails."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from email.message import EmailMessage

    from aiosmtpd.smtp import SMTP, Envelope, Session


LOOPBACK = "127.0.0.1"


class Mailbox:
    """Accepts every mail on a port of this machine. `mails` has them, oldest first."""

    def __init__(self, port: int, host: str = LOOPBACK) -> None:
        """`host`: the address to listen on."""
        self.mails: list[EmailMessage] = []
        self._host, self._port = host, port
        self._controller: Controller | None = None

    @property
    def subjects(self) -> list[str]:
        """The mails' subjects, oldest first."""
        return [str(mail["Subject"]) for mail in self.mails]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Accept a mail, and keep it."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self.mails.append(message_from_bytes(content, policy=policy.default))
        return "250 taken"

    def start(self) -> None:
        """Begin to listen."""
        self._controller = Controller(self, hostname=self._host, port=self._port)
        self._controller.start()

    def stop(self) -> None:
        """Stop listening."""
        if self._controller is not None:
            self._controller.stop()
