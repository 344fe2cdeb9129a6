"""A chain as one HTML page that needs nothing else: no script, no network, every text escaped. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from auto_deployment.provenance.sections import sections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.provenance.sections import Section

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; width: 100%; } td { padding: .15rem .75rem .15rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; opacity: .7; } td:last-child { overflow-wrap: anywhere; width: 100%; }
@media (prefers-color-scheme: dark) { body { background: #16181d; color: #e6e6e6; } }
"""


def page(chain: Mapping[str, Any]) -> str:
    """The page."""
    answer_id, user = escape(chain["request"]["answer_id"]), escape(str(chain["user"]))
    body = "\n".join(map(_section, sections(chain)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Answer {answer_id}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Why user {user} got answer {answer_id}</h1>\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    rows = "\n".join(f"<tr><td>{escape(label)}</td><td>{escape(told)}</td></tr>" for label, told in section.lines)
    return f"<h2>{escape(section.title)}</h2>\n<table>\n{rows}\n</table>"
