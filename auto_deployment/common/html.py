"""Pieces of an HTML page that needs no network and no script; every text is escaped. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; color: #222222; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #dddddd; padding: .3em .5em; text-align: left; vertical-align: top; }
figure { margin: 1.5em 0; }
svg { width: 100%; }
svg text { font-size: 11px; fill: #555555; }
code { font-size: 12px; overflow-wrap: anywhere; }
"""
Rows = list[tuple[str, ...]]


def document(title: str, parts: Sequence[str]) -> str:
    """A page of HTML parts under a title."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def titled(title: str, head: Sequence[str], rows: Rows) -> list[str]:
    """A table under its title; nothing where there are no rows."""
    return [f"<h2>{escape(title)}</h2>", table(head, rows)] if rows else []


def table(head: Sequence[str], rows: Rows) -> str:
    """A table; what holds a brace is code."""
    top = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>" if head else ""
    cells = ("".join(f"<td>{_cell(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{top}{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _cell(text: str) -> str:
    return f"<code>{escape(text)}</code>" if "{" in text else escape(text)
