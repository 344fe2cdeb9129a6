"""Sentences of pages, docstrings and comments are short, and words that readers stumbled over stay away."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MOST_WORDS = 25
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG"))]
MODULES = [path for folder in ("app", "auto_deployment", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
# A plainer word is near: "said" or "written" for told, "next to" or "compared with" for beside, "request" for wish.
OLD_WORDS = re.compile(
    r"\b(told|untold|whoever|whomever|wish(?:es|ed)?|beside|(?:to|cannot|can not) be had|go(?:es)? on with|tells? of"
    r"|(?:by|of|the) contracts|the (?:seeds|known rule))\b",
    re.IGNORECASE,
)
# A title, and the outcome of a measure that is on the disk.
EXCEPTIONS = ("WITHIN and TOLD let a canary pass",)


def blocks_of_page(text: str) -> Iterator[str]:
    """Paragraphs, list items, headings and cells of tables, without code."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.) |^#+ ", text, flags=re.MULTILINE):
        is_table = block.lstrip().startswith("|")
        yield from (cell for line in block.splitlines() for cell in line.strip("| ").split(" | ")) if is_table else [block]


def blocks_of_docstring(text: str) -> Iterator[str]:
    """Paragraphs and list items, without lines that are indented: lists of files and columns."""
    lines = [line for line in text.splitlines() if not line.startswith("  ")]
    yield from re.split(r"\n\s*\n|^- ", "\n".join(lines), flags=re.MULTILINE)


def sentences(block: str) -> list[str]:
    """Code counts as one word, a link as its text."""
    text = re.sub(r"`[^`]+`", "CODE", block)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return [" ".join(each.split()) for each in re.split(r"(?<=[.!?])[\"')*]*\s+", text)]


def faults(blocks: Iterator[str]) -> list[str]:
    """Sentences that are too long, or have a word of the list."""
    found = []
    for sentence in (each for block in blocks for each in sentences(block)):
        count = sum(re.search(r"\w", word) is not None for word in sentence.split())
        if count > MOST_WORDS:
            found.append(f"{count} words: {sentence}")
        if (word := OLD_WORDS.search(sentence)) is not None and not sentence.startswith(EXCEPTIONS):
            found.append(f"{word[0]!r}: {sentence}")
    return found


def docstrings(source: str) -> Iterator[str]:
    """Of a module and all in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield from blocks_of_docstring(ast.get_docstring(node) or "")


def comments(source: str) -> Iterator[str]:
    """Each line by itself."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sentences_of_a_page_are_short_and_plain(page: Path) -> None:
    """At most 25 words, and one fact a sentence."""
    assert faults(blocks_of_page(page.read_text())) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: ".".join(path.relative_to(ROOT).with_suffix("").parts))
def test_docstrings_and_comments_are_short_and_plain(module: Path) -> None:
    """A comment may go over several lines, so its sentences are not counted."""
    source = module.read_text()
    assert faults(docstrings(source)) == []
    assert [text for text in comments(source) if OLD_WORDS.search(text)] == []


def test_a_long_sentence_and_an_old_word_are_found() -> None:
    """In a page and in a docstring, but not in code or in a table of files."""
    long = "word " * 26 + "end."
    assert len(faults(blocks_of_page(f"# Title\n\n- {long}\n\n| a | `told` |\n| {long} | whoever |\n"))) == 3
    assert len(faults(docstrings(f'"""First.\n\n  {long}\n{long}\n"""\n'))) == 1
    assert faults(blocks_of_page(f"```\n{long}\n```\n`{long}`\n")) == []
