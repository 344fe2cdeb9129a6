"""A mail server that takes everything, and what it was given."""

from __future__ import annotations

from contextlib import contextmanager
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller

from scripts.ports import reserve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiosmtpd.smtp import Envelope


class PostOffice:
    """What a mail server received."""

    def __init__(self, port: int) -> None:
        self.mails: list[Envelope] = []
        mail = {"MAIL_FROM": "movierec@example.org", "MAIL_TO": "ann@example.org"}
        self.environment = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), **mail}

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Take a mail."""
        self.mails.append(envelope)
        return "250 taken"

    def read(self) -> list[tuple[str, str]]:
        """The subjects and texts."""
        raw = [mail.content for mail in self.mails if isinstance(mail.content, bytes)]
        mails = [message_from_bytes(content, policy=policy.default) for content in raw]
        return [(str(mail["Subject"]), mail.get_content()) for mail in mails]


@contextmanager
def open_post_office() -> Iterator[PostOffice]:
    """One that is open; a run needs its `environment`."""
    (port,) = reserve()
    office = PostOffice(port)
    controller = Controller(office, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield office
    finally:
        controller.stop()
