"""A notice: a subject and a text of short lines, to be read on a phone. Pure."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auto_deployment.common.logs import Redactor

WIDTH = 77
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True)
class Notice:
    """A subject and a text of short lines. Whatever they are made from, neither holds a control character.

    `key` names what the notice is about: a second notice with the same key is a copy. Empty: each notice is its own.
    """

    subject: str
    text: str
    key: str = ""
    # As given: a secret that was cut or wrapped can no longer be found.
    whole: tuple[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", (self.subject, self.text))
        object.__setattr__(self, "subject", shortened(self.subject, WIDTH))
        object.__setattr__(self, "text", "\n".join(each for line in self.text.split("\n") for each in _wrapped(line)))

    def masked(self, redact: Redactor) -> Notice:
        """The same without secrets."""
        subject, text = map(redact, self.whole)
        return Notice(subject, text, self.key)


def shortened(text: str, length: int) -> str:
    """One line of at most `length` printable characters."""
    text = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return text if len(text) <= length else text[: length - 4] + " ..."


def _wrapped(line: str) -> list[str]:
    line = _UNPRINTABLE.sub(" ", line).rstrip()
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent[:20], break_on_hyphens=False)
