"""Slack by an incoming webhook."""

from __future__ import annotations

import re
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests

from auto_deployment.notify.channel import STEP_SECONDS, TOTAL_SECONDS, NotifyError, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.common.logs import Redactor
    from auto_deployment.notify.notice import Notice

_WEBHOOK_ERROR = re.compile(rb"[a-z_ ]{1,60}")


class SlackChannel:
    """Posts to an incoming webhook, whose URL is a secret."""

    name = "Slack"

    def __init__(
        self, url: str, redact: Redactor, step_seconds: float = STEP_SECONDS, total_seconds: float = TOTAL_SECONDS
    ) -> None:
        self._url = url
        self._redact = redact
        self._step_seconds = step_seconds
        self._total_seconds = total_seconds

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Posts it. Raises NotifyError."""
        notice = notice.masked(self._redact)
        text = f"*{notice.subject}*\n{notice.text}"
        for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, escaped)
        return lambda: within(self._total_seconds, lambda: self._post(text))

    def _post(self, text: str) -> None:
        try:
            with requests.post(
                self._url, json={"text": text}, timeout=self._step_seconds, allow_redirects=False, stream=True
            ) as answer:
                self._check_status(answer)
        except (OSError, ValueError) as error:
            # Its own words hold the URL.
            raise self._problem(error) from None

    def _check_status(self, answer: requests.Response) -> None:
        if 200 <= answer.status_code < 300:
            return
        words = b""
        with suppress(OSError):
            words = next(answer.iter_content(500), b"")
        # Slack's errors are words such as invalid_token; whatever else answers might repeat the URL.
        reason = self._redact(f" {words.decode()}") if _WEBHOOK_ERROR.fullmatch(words) else ""
        raise NotifyError(f"the webhook answered {answer.status_code}{reason}", permanent=_is_final(answer.status_code))

    def _problem(self, error: Exception) -> NotifyError:
        if isinstance(error, requests.Timeout):
            return NotifyError(f"the webhook gave no answer within {self._step_seconds:g} s")
        return NotifyError(f"the webhook cannot be reached ({type(error).__name__})", permanent=isinstance(error, ValueError))


def _is_final(status: int) -> bool:
    return status < 500 and status not in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
