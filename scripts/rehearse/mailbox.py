"""A mail server for rehearsals. It keeps the subjects of the mails."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """Accepts every mail on a loopback port. `subjects` has the mails' subjects, oldest first."""

    def __init__(self, port: int) -> None:
        self.subjects: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=port)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Accept a mail, and keep its subject."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self.subjects.append(str(message_from_bytes(content, policy=policy.default)["Subject"]))
        return "250 taken"

    def start(self) -> None:
        """Begin to listen."""
        self._controller.start()

    def stop(self) -> None:
        """Stop listening."""
        self._controller.stop()
