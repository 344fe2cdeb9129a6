"""The console of a demo in a real browser: by keyboard, on a phone, in dark and light, and while it refreshes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.integration.browser import Reader, browser
from tests.integration.demo_runner import ROOT, Demo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

PATHS = ("/", "/release", "/versions", "/versions/0", "/answers", "/settings", "/no/such/page")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that has answered a known user and a new one."""
    made = Demo(tmp_path_factory.mktemp("console") / "demo", ranker="auto")
    made.start()
    try:
        yield made
    finally:
        assert made.stop() == 130


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    with browser() as launched:
        yield launched


@pytest.fixture
def reader(chromium: Browser, demo: Demo) -> Iterator[Reader]:
    """Somebody at a desk. No page may make an error."""
    made = Reader(chromium, f"http://127.0.0.1:{demo.console_port}")
    yield made
    made.close()
    assert made.complaints == []


def known_user(demo: Demo) -> int:
    """A user of the training data."""
    return int((demo.folder / "data" / "clean_rating.csv").read_text().split("\n", 2)[1].split(",")[0])


def recommend(demo: Demo, user: int) -> str:
    """The id of a new answer to a user."""
    with urllib.request.urlopen(f"http://127.0.0.1:{demo.port}/recommend/{user}", timeout=5) as answer:
        return str(answer.headers["X-Answer-ID"])


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_every_page_is_open_to_everybody(chromium: Browser, demo: Demo, dark: bool, phone: bool) -> None:  # noqa: FBT001 - parameters
    """WCAG AA by axe-core, and no wider than the window, on a desk and on a phone, in light and dark."""
    made = Reader(chromium, f"http://127.0.0.1:{demo.console_port}", dark=dark, phone=phone)
    found = {}
    for path in PATHS:
        made.open(path)
        found[path] = made.barriers()
    made.close()
    assert {path: barriers for path, barriers in found.items() if barriers} == {}


def test_an_answer_is_explained_next_to_the_history(demo: Demo, reader: Reader, chromium: Browser) -> None:
    """From the user to the answer, and from the command that the page gives to its reasons."""
    user = known_user(demo)
    answer = recommend(demo, user)
    reader.open("/answers")
    reader.page.get_by_label("User").fill(str(user))
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_url(re.compile(rf"user={user}"))
    for _ in range(20):
        if answer in (text := reader.text()):
            break
        reader.open(f"/answers?user={user}")
    assert f"scripts/provenance why {answer} --console" in text
    why = ("-m", "auto_deployment.provenance", "why", answer, "--console", "--demo", str(demo.folder), "--json")
    ended = subprocess.run([sys.executable, *why], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    chain = json.loads(ended.stdout)
    text = reader.open(f"/answers?user={user}")
    assert chain["history"][0]["film"] in text
    reader.page.get_by_role("link", name=re.compile(r"\d\d:\d\d:\d\d")).first.click()
    reader.page.wait_for_url(re.compile(answer))
    assert chain["answer"]["films"][0] in reader.text()
    assert "equal to the byte" in reader.text()
    reader.picture("answer", 640)  # below 150 kB
    phone = Reader(chromium, f"http://127.0.0.1:{demo.console_port}", phone=True)
    phone.open(f"/answers/{answer}")
    phone.picture("answer")
    phone.close()


def test_all_pages_can_be_reached_by_keyboard(reader: Reader) -> None:
    """The first key leads past the menu; each link of the menu follows, and Enter opens it."""
    reader.open("/")
    reader.page.keyboard.press("Tab")
    assert reader.page.evaluate("document.activeElement.textContent") == "to the content"
    for name in ("Overview", "Release", "Versions"):
        reader.page.keyboard.press("Tab")
        assert reader.page.evaluate("document.activeElement.textContent") == name
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_url(re.compile("/versions$"))
    assert reader.page.locator("[aria-current=page]").inner_text() == "Versions"


def test_a_refresh_replaces_only_what_differs(demo: Demo, reader: Reader) -> None:
    """An element that is the same stays in the page, what was typed too, and a new answer appears."""
    user = known_user(demo)
    recommend(demo, user)
    reader.open("/answers")
    reader.page.evaluate("window.kept = document.querySelector('h1'); window.kept.dataset.mine = 'yes'")
    reader.page.get_by_label("User").fill("12")
    recommend(demo, 987654321)
    reader.page.get_by_role("link", name="987654321").wait_for()
    assert reader.page.evaluate("window.kept.isConnected")
    assert reader.page.get_by_label("User").input_value() == "12"


def test_the_version_of_the_demo_has_its_metrics(reader: Reader) -> None:
    """With the gate's decision."""
    text = reader.open("/versions/0")
    assert re.search(r"RMSE 0\.\d{3}", text)
    assert "gate passed" in text
