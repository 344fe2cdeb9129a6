from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts.lib.images.build import commands
from scripts.lib.images.docker import FINDER, DockerError, run
from scripts.lib.images.machine import pip_conf
from scripts.lib.images.recipes import BASE, DEBIAN, StandInRecipe

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("movierec.stand-in=true", "movierec.stand-in.recipe=abc")


def test_a_stand_in_is_built_under_the_name_that_was_asked_for(tmp_path: Path) -> None:
    """With labels that say what it is and from which recipe."""
    assert commands("/bin/docker", StandInRecipe("nginx:1.30.0", tmp_path, "abc"), "/made") == [
        [
            *("/bin/docker", "build", "--progress=plain", "--tag", "nginx:1.30.0"),
            *("--label", LABELS[0], "--label", LABELS[1], "--build-context", "made=/made", str(tmp_path)),
        ]
    ]


def test_what_a_recipe_needs_is_made_first(tmp_path: Path) -> None:
    """By a script on this machine, or in a container that is thrown away and sees the recipe read-only."""
    (tmp_path / "in-container.sh").touch()
    prepare, _ = commands("/bin/docker", StandInRecipe("cadvisor:1", tmp_path, "abc"), "/made")
    assert prepare[:3] == ["/bin/docker", "run", "--rm"]
    assert prepare[-7:] == [
        "--volume",
        f"{tmp_path}:/recipe:ro",
        "--volume",
        "/made:/made",
        BASE,
        "sh",
        "/recipe/in-container.sh",
    ]
    (tmp_path / "on-host.sh").touch()
    assert commands("/bin/docker", StandInRecipe("kafka:1", tmp_path, "abc"), "/made")[0] == [
        str(tmp_path / "on-host.sh"),
        "/made",
    ]


def test_debian_is_imported(tmp_path: Path) -> None:
    """As there is no image yet that it could be built from."""
    rootfs, imported = commands("/bin/docker", StandInRecipe(DEBIAN, tmp_path, "abc"), "/made")
    assert rootfs == [str(tmp_path / "rootfs.sh"), "/made/rootfs.tar"]
    changes = ["--change", f"LABEL {LABELS[0]}", "--change", f"LABEL {LABELS[1]}"]
    assert imported == ["/bin/docker", "import", *changes, "/made/rootfs.tar", DEBIAN]


@pytest.mark.parametrize(
    ("index", "line"),
    [
        ("", None),
        ("https://pypi.example/simple", "index-url = https://pypi.example/simple"),
        ("https://u:secret@pypi.example/", None),
    ],
)
def test_the_machines_package_index_goes_in_without_secrets(index: str, line: str | None) -> None:
    """An address with a password is left out."""
    text = pip_conf(index)
    assert "secret" not in text
    assert text.splitlines()[2:] == ([line] if line else [])


def test_a_failed_call_says_what_it_said(tmp_path: Path) -> None:
    """Standard error is in the message; a call that takes too long ends."""
    with pytest.raises(DockerError, match="status 3: no such thing"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"], timeout=5)
    with pytest.raises(DockerError, match="not done after 0 s"):
        run(["sleep", "5"], timeout=0.1)
    assert run(["sh", "-c", f"ls -A {tmp_path}"], timeout=5) == ""


def client(folder: Path, compose: str, *, buildx: bool = True) -> None:
    """A docker client of that compose version in a folder of its own."""
    folder.mkdir()
    answers = f'case "$1" in compose) echo {compose or "unknown >&2; exit 1"};; buildx) exit {0 if buildx else 1};; esac'
    (folder / "docker").write_text(f"#!/bin/sh\n{answers}\n")
    (folder / "docker").chmod(0o755)


def test_the_first_client_with_compose_and_buildx_is_called(tmp_path: Path) -> None:
    """One without compose, one with an old compose and one without buildx may stand before it on PATH."""
    client(tmp_path / "bare", "")
    client(tmp_path / "old", "2.9.0")
    client(tmp_path / "no-buildx", "v2.30.1", buildx=False)
    client(tmp_path / "good", "2.40.3-3")
    path = ":".join(str(tmp_path / name) for name in ("bare", "old", "no-buildx", "good")) + ":/usr/bin:/bin"
    found = subprocess.run([FINDER], env={"PATH": path}, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == f"{tmp_path}/good/docker\n"


def test_a_client_that_is_named_is_believed(tmp_path: Path) -> None:
    """And it is an error, in one line, if it is no program."""
    client(tmp_path / "mine", "")
    environment = {"PATH": "/usr/bin:/bin", "DOCKER": f"{tmp_path}/mine/docker"}
    found = subprocess.run([FINDER], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == f"{tmp_path}/mine/docker\n"
    environment["DOCKER"] = f"{tmp_path}/nothing"
    lost = subprocess.run([FINDER], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (lost.returncode, lost.stdout, lost.stderr.count("\n")) == (1, "", 1)
