from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib.images.plan import RECIPE, STAND_IN, Pull, Work, build_order, differs, pull_outcome, step
from scripts.lib.images.recipes import STAND_INS, Recipe, recipe_for

NGINX = Recipe("nginx:1.30.0", Path("/stand_ins/nginx"), "today")


@pytest.mark.parametrize(
    ("labels", "work"),
    [
        (None, Work.GET),
        ({}, Work.NOTHING),
        ({"maintainer": "upstream"}, Work.NOTHING),
        ({STAND_IN: "true", RECIPE: "today"}, Work.NOTHING),
        ({STAND_IN: "true", RECIPE: "yesterday"}, Work.REBUILD),
        ({STAND_IN: "true"}, Work.REBUILD),
    ],
)
def test_what_is_done_for_an_image(labels: dict[str, str] | None, work: Work) -> None:
    """An upstream image is left alone, a stand-in built again only when its recipe changed."""
    assert step(NGINX.name, labels, NGINX).work is work


def test_a_stand_in_without_a_recipe_is_kept() -> None:
    """There is nothing to build it from, and nothing wrong with it."""
    assert step("gone:1", {STAND_IN: "true", RECIPE: "old"}, None).work is Work.NOTHING


@pytest.mark.parametrize(
    ("status", "said", "outcome"),
    [
        (0, "Status: Downloaded newer image", Pull.DONE),
        (1, "manifest for nginx:9 not found: manifest unknown", Pull.UNKNOWN),
        (1, "pull access denied for x, repository does not exist or may require 'docker login'", Pull.UNKNOWN),
        (1, "dial tcp: lookup registry: no such host", Pull.NO_REGISTRY),
        (1, "net/http: TLS handshake timeout", Pull.NO_REGISTRY),
        (None, "", Pull.NO_REGISTRY),
    ],
)
def test_what_a_pull_means(status: int | None, said: str, outcome: Pull) -> None:
    """A registry that answers without the image is asked for the next one; one that does not answer is left alone."""
    assert pull_outcome(status, said) is outcome


@pytest.mark.parametrize(
    ("name", "packaged", "different"),
    [
        ("nginx:1.30.0", "1.30.6-2", False),
        ("prom/prometheus:v3.5.0", "3.5.3+ds1-6", False),
        ("prom/prometheus:v3.5.0", "2.53.3+ds1-2", True),
        ("mysql:9.7.0", "1:9.8.1-1", True),
        ("ghcr.io/google/cadvisor:v0.60.6", "", False),
    ],
)
def test_a_name_that_would_be_a_lie_is_told(name: str, packaged: str, *, different: bool) -> None:
    """Beyond the last place of the version; where there is no package there is nothing to compare."""
    assert differs(name, packaged) is different


def test_what_takes_long_is_begun_first() -> None:
    """The rest stays in the order in which it was named."""
    names = ["nginx:1", "cadvisor:1", "mysql:1", "kafka:1"]
    recipes = [recipe for name in names if (recipe := recipe_for(name))]
    assert [recipe.name for recipe in build_order(recipes)] == ["cadvisor:1", "kafka:1", "nginx:1", "mysql:1"]


def test_a_recipe_is_found_by_the_last_part_of_the_repository(tmp_path: Path) -> None:
    """Its digest changes with any of its files, and with what lies beneath all of them."""
    for folder in ("nginx", "base", "debian"):
        (tmp_path / folder).mkdir()
    assert recipe_for("ghcr.io/someone/else:1", tmp_path) is None
    seen = set()
    for file in ("nginx/Dockerfile", "base/apt.conf", "debian/rootfs.sh"):
        (tmp_path / file).write_text("one")
        recipe = recipe_for("registry.example/x/nginx:1.30.0", tmp_path)
        assert recipe is not None
        seen.add(recipe.digest)
    assert len(seen) == 3


def test_every_stand_in_starts_from_the_one_base_and_leaves_no_package_lists() -> None:
    """Debian's own apart, which has no Dockerfile."""
    for folder in STAND_INS.iterdir():
        text = (folder / "Dockerfile").read_text() if folder.name != "debian" else ""
        assert folder.name in {"debian", "base"} or "\nFROM movierec-stand-in/base:trixie\n" in text
        assert text.count("apt-get -qq update") == text.count("rm -rf /var/lib/apt/lists/*")
