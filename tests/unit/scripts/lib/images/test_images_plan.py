from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.lib.images.plan import RECIPE, STAND_IN, Action, PullOutcome, build_order, differs, plan_image, pull_outcome
from scripts.lib.images.recipes import STAND_INS, StandInRecipe, recipe_for

ROOT = Path(__file__).resolve().parents[5]
SCRIPTS_WITH_ROOT = [path for path in sorted(STAND_INS.rglob("*.sh")) if "\nROOT=" in path.read_text()]
NGINX = StandInRecipe("nginx:1.30.0", Path("/stand_ins/nginx"), "today")


@pytest.mark.parametrize(
    ("labels", "action"),
    [
        (None, Action.GET),
        ({}, Action.NOTHING),
        ({"maintainer": "upstream"}, Action.NOTHING),
        ({STAND_IN: "true", RECIPE: "today"}, Action.NOTHING),
        ({STAND_IN: "true", RECIPE: "yesterday"}, Action.REBUILD),
        ({STAND_IN: "true"}, Action.REBUILD),
    ],
)
def test_the_action_for_an_image(labels: dict[str, str] | None, action: Action) -> None:
    """An upstream image stays. A stand-in is built again only if its recipe changed."""
    assert plan_image(NGINX.name, labels, NGINX).action is action


def test_a_stand_in_without_a_recipe_is_kept() -> None:
    """Nothing is wrong with it, and it could not be built again."""
    assert plan_image("gone:1", {STAND_IN: "true", RECIPE: "old"}, None).action is Action.NOTHING


@pytest.mark.parametrize(
    ("status", "output", "outcome"),
    [
        (0, "Status: Downloaded newer image", PullOutcome.DONE),
        (1, "manifest for nginx:9 not found: manifest unknown", PullOutcome.UNKNOWN),
        (1, "pull access denied for x, repository does not exist or may require 'docker login'", PullOutcome.UNKNOWN),
        (1, "dial tcp: lookup registry: no such host", PullOutcome.NO_REGISTRY),
        (1, "net/http: TLS handshake timeout", PullOutcome.NO_REGISTRY),
        (None, "", PullOutcome.NO_REGISTRY),
    ],
)
def test_the_outcome_of_a_pull(status: int | None, output: str, outcome: PullOutcome) -> None:
    """A registry without the image differs from a registry that does not answer."""
    assert pull_outcome(status, output) is outcome


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
def test_a_version_that_differs_from_the_tag_is_found(name: str, packaged: str, *, different: bool) -> None:
    """The last number of the version does not count. An image without a package passes."""
    assert differs(name, packaged) is different


def test_the_slowest_builds_start_first() -> None:
    """The others keep their order."""
    names = ["nginx:1", "cadvisor:1", "mysql:1", "kafka:1"]
    recipes = [recipe for name in names if (recipe := recipe_for(name))]
    assert [recipe.name for recipe in build_order(recipes)] == ["cadvisor:1", "kafka:1", "nginx:1", "mysql:1"]


def test_a_recipe_is_found_by_the_last_part_of_the_repository(tmp_path: Path) -> None:
    """Its digest changes with each of its files, and with the files of the base images."""
    for folder in ("nginx", "base", "debian"):
        (tmp_path / folder).mkdir()
    assert recipe_for("ghcr.io/someone/else:1", tmp_path) is None
    digests = set()
    for file in ("nginx/Dockerfile", "base/apt.conf", "debian/rootfs.sh"):
        (tmp_path / file).write_text("one")
        recipe = recipe_for("registry.example/x/nginx:1.30.0", tmp_path)
        assert recipe is not None
        digests.add(recipe.digest)
    assert len(digests) == 3


def test_every_stand_in_uses_the_base_image_and_leaves_no_package_lists() -> None:
    """Except for Debian, which has no Dockerfile."""
    for folder in STAND_INS.iterdir():
        text = (folder / "Dockerfile").read_text() if folder.name != "debian" else ""
        assert folder.name in {"debian", "base"} or "\nFROM movierec-stand-in/base:trixie\n" in text
        assert text.count("apt-get -qq update") == text.count("rm -rf /var/lib/apt/lists/*")


@pytest.mark.parametrize("script", SCRIPTS_WITH_ROOT, ids=lambda path: path.parent.name)
def test_a_script_of_a_recipe_finds_the_root_of_the_repository(script: Path) -> None:
    """It calls scripts outside of its folder, so a folder that moves must not leave it behind."""
    (line,) = [each for each in script.read_text().splitlines() if each.startswith("ROOT=")]
    found = subprocess.run(
        ["bash", "-c", f'{line.replace("${BASH_SOURCE[0]}", str(script))}; printf %s "$ROOT"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert Path(found) == ROOT
