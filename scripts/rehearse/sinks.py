"""A mail server of the rehearsal's own, which keeps the mails that people would get."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """Takes every mail on a port of the loopback address; `subjects` are theirs, oldest first."""

    def __init__(self, port: int) -> None:
        self.subjects: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=port)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self.subjects.append(str(message_from_bytes(content, policy=policy.default)["Subject"]))
        return "250 taken"

    def start(self) -> None:
        """Listen."""
        self._controller.start()

    def stop(self) -> None:
        """Listen no more."""
        self._controller.stop()
