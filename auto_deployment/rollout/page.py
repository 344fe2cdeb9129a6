"""A release's evidence as one HTML page that needs no network. Pure but for `of_folder`, which reads."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.canary.comparison import Limits
    from auto_deployment.rollout.record import End


def of_folder(folder: Path, end: End, limits: Limits) -> str:
    """The page of a release's folder."""
    del folder, limits
    return f"<!doctype html><title>{escape(str(end.version))}</title>"
