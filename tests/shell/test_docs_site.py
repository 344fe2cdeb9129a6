"""`scripts/dev docs`, which lint calls too: what it refuses, and what the site loads."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INDEX = "# Index\n\n```{toctree}\npage\nother\n```\n"
PAGE = "# Page\n\nSee [the other one](other.md#a-heading).\n"
OTHER = "# Other\n\n## A heading\n\nText.\n"
FROM_A_HOST = r"(?:https?:)?//"
IN_PAGES = re.compile(rf"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"{FROM_A_HOST}[^\"]*\"")
IN_STYLES = re.compile(rf"(?:url\(|@import )[\"']?{FROM_A_HOST}[^)\"']*")


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """A small site with the real configuration, the real task runner and its environment."""
    for name in ("scripts/dev", "scripts/lib/install-lock.sh", "tests/requirements.txt", "docs/conf.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    for name, text in {"index": INDEX, "page": PAGE, "other": OTHER}.items():
        (tmp_path / "docs" / f"{name}.md").write_text(text)
    return tmp_path


def build(project: Path) -> tuple[int, str]:
    """The exit status of `scripts/dev docs`, and its messages."""
    command = [str(project / "scripts" / "dev"), "docs"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, ended.stderr


def test_a_fault_fails_every_build_and_not_only_the_first(project: Path) -> None:
    """A link to no page, an anchor that is not there, and a page in no table of contents: each build names all three."""
    with (project / "docs" / "page.md").open("a") as page:
        page.write("\n[no page](nowhere.md), [no anchor](other.md#nothing)\n")
    (project / "docs" / "orphan.md").write_text("# Orphan\n")
    for attempt in ("first", "second"):
        status, messages = build(project)
        assert status != 0, attempt
        for fault in ("'nowhere.md'", "'nothing'", "orphan.md: WARNING: document isn't included in any toctree"):
            assert fault in messages, attempt


def test_a_renamed_heading_fails_the_build_though_the_page_with_the_link_did_not_change(project: Path) -> None:
    """The site was built before. That sound site loads nothing from the network."""
    assert build(project) == (0, "")
    assert loaded_from_the_network(project / ".cache" / "docs") == []
    (project / "docs" / "other.md").write_text(OTHER.replace("A heading", "Another heading"))
    status, messages = build(project)
    assert status != 0
    assert "'a-heading'" in messages


def loaded_from_the_network(site: Path) -> list[str]:
    """The scripts, styles, fonts and pictures that a browser would fetch from another host to show the pages."""
    pages, styles = sorted(site.rglob("*.html")), sorted(site.rglob("*.css"))
    assert pages
    assert styles
    in_pages = [found for page in pages for found in IN_PAGES.findall(page.read_text())]
    return in_pages + [found for style in styles for found in IN_STYLES.findall(style.read_text())]
