"""A mail server that takes everything, and the settings that send mails there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from scripts.ports import reserve
from scripts.rehearse.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator


class PostOffice(Mailbox):
    """A mailbox with the `environment` of a run that uses it."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        mail = {"MAIL_FROM": "movierec@example.org", "MAIL_TO": "ann@example.org"}
        self.environment = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), **mail}

    def read(self) -> list[tuple[str, str]]:
        """The subjects and texts."""
        return [(str(mail["Subject"]), mail.get_content()) for mail in self.mails]


@contextmanager
def open_post_office() -> Iterator[PostOffice]:
    """One that is open; a run needs its `environment`."""
    (port,) = reserve()
    office = PostOffice(port)
    office.start()
    try:
        yield office
    finally:
        office.stop()
