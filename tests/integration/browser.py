"""A real browser for the tests of the console: Debian's Chromium, driven by Playwright, judged by axe-core."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has no types
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, FloatRect, Page, ViewportSize

ROOT = Path(__file__).resolve().parents[2]
# `docs/development.md` says how they become those of the docs.
PICTURES = ROOT / ".cache" / "pictures"
INSTALL_SECONDS = 600
WAIT_MILLISECONDS = 20_000
# WCAG 2.2 AA.
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1280, "height": 900}


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium. The sandbox is off: root, as whom containers of CI run, cannot have one."""
    path = subprocess.run(
        [ROOT / "scripts" / "lib" / "browser.sh"], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True
    ).stdout.strip()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--no-proxy-server"])
        try:
            yield launched
        finally:
            launched.close()


class Reader:
    """Somebody with a browser. Whatever a page complains of, an error or a refused resource, is in `complaints`."""

    def __init__(self, launched: Browser, address: str, *, dark: bool = False, phone: bool = False) -> None:
        self._context = launched.new_context(viewport=PHONE if phone else DESK, color_scheme="dark" if dark else "light")
        self._address = address
        self._phone = phone
        self.complaints: list[str] = []
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(WAIT_MILLISECONDS)
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"{request.url}: {request.failure}"))

    def open(self, path: str) -> str:
        """Go to a page; its text."""
        self.page.goto(f"{self._address}{path}", wait_until="load")
        return self.text()

    def text(self) -> str:
        """What the page shows now."""
        return " ".join(self.page.inner_text("main").split())

    def barriers(self) -> list[str]:
        """What axe-core finds against WCAG AA, and content that is wider than the window."""
        found = Axe().run(self.page, options=RULES).response["violations"]
        listed = [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]]
        wide = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return [*listed, *(["the page is wider than the window"] if wide else [])]

    def picture(self, name: str, height: int = 0) -> None:
        """Keep the page's top as PICTURES/NAME.png, for README and docs. From a phone, the name ends in `-phone`.

        `height` in pixels; 0: as high as the window.
        """
        PICTURES.mkdir(parents=True, exist_ok=True)
        size = PHONE if self._phone else DESK
        clip: FloatRect = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=PICTURES / f"{name}{'-phone' if self._phone else ''}.png", clip=clip)

    def close(self) -> None:
        """Close the window."""
        self._context.close()
