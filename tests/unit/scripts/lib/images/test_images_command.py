from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.lib.images import __main__ as command
from scripts.lib.images import build
from scripts.lib.images.docker import client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# An engine in a folder: an image is a file with its labels, docker.io has what is in `registry`, ghcr.io does not answer.
ENGINE = """#!/bin/sh
cd {folder}
printf '%s\\n' "$*" >>calls
file() {{ printf '%s' "$1" | tr '/:' '__'; }}
for last; do :; done
case "$1 $2" in
'compose --profile') cat compose.json ;;
'image inspect')
  case "$*" in *stand-in.package*) exit 0 ;; esac
  cat "images/$(file "$last")" 2>/dev/null || {{ echo 'Error: No such image' >&2; exit 1; }} ;;
'image ls') cat "images/$(file "$last")" 2>/dev/null | cksum ;;
'image rm') ;;
'pull ghcr'*) echo 'dial tcp: no such host' >&2; exit 1 ;;
'pull '*) grep -qxF "$2" registry || {{ echo 'manifest unknown' >&2; exit 1; }}; echo '{{}}' >"images/$(file "$2")" ;;
'build '*) [ ! -e broken ] || {{ echo 'E: no such package' >&2; exit 100; }}; touch built ;;
'import '*) echo '{{}}' >"images/$(file "$last")" ;;
*) echo "what? $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The engine's folder. `images` has the present images, and `calls` has the commands."""
    (tmp_path / "images").mkdir()
    for name, labels in (("nginx_1.30.0", "{}"), ("debian_trixie-slim", '{"movierec.stand-in": "true"}')):
        (tmp_path / "images" / name).write_text(labels)
    (tmp_path / "registry").write_text("mysql:9.7.0\n")
    (tmp_path / "docker").write_text(ENGINE.format(folder=tmp_path))
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("DOCKER", str(tmp_path / "docker"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(build, "describe", lambda _: None)
    monkeypatch.setattr(build, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(build, "commands", lambda docker, recipe, _: [[docker, "build", recipe.name]])
    client.cache_clear()
    yield tmp_path
    client.cache_clear()


def calls(engine: Path, verb: str) -> list[str]:
    """The commands with this verb that the engine received."""
    return [line for line in (engine / "calls").read_text().splitlines() if line.startswith(verb)]


def test_present_images_are_only_listed(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each in one line, without a pull."""
    assert command.main(["nginx:1.30.0"]) == 0
    assert capsys.readouterr().out == "images: nginx:1.30.0: is there\n"
    assert calls(engine, "pull") == []


def test_what_a_registry_has_is_pulled_and_the_rest_is_built(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry that does not answer is tried once. A registry that answers is tried for every image."""
    assert command.main(["ghcr.io/jaqx0r/mtail:3.2.24", "mysql:9.7.0", "prom/alertmanager:v0.33.0", "ghcr.io/x/mtail:1"]) == 0
    output = capsys.readouterr().out
    assert "images: mysql:9.7.0: pulled" in output
    assert [
        name for name in ("ghcr.io/jaqx0r/mtail:3.2.24", "prom/alertmanager:v0.33.0") if f"{name}: stand-in built" in output
    ]
    assert len(calls(engine, "pull")) == 3
    assert len(calls(engine, "build --label")) == 1


def test_an_image_that_cannot_be_got_is_one_line(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No registry and no recipe, or a failed build, whose log is kept."""
    assert command.main(["ghcr.io/x/unheard-of:1"]) == 1
    assert "there is no stand-in" in capsys.readouterr().err
    (engine / "images" / "movierec-stand-in_base_trixie").write_text("{}")
    (engine / "broken").touch()
    assert command.main(["ghcr.io/jaqx0r/mtail:3.2.24"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "E: no such package" in error


def test_the_names_come_from_the_projects_own_files(engine: Path) -> None:
    """The base image of the service comes first, then the images in docker-compose.yml."""
    (engine / "compose.json").write_text('{"services": {"nginx": {"image": "nginx:1.30.0"}}}')
    names = command.stack_images()
    assert names[0].startswith("python:3.")
    assert names[1:] == ["nginx:1.30.0"]


def test_wrong_use_has_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """And shows the usage."""
    with pytest.raises(SystemExit) as ended:
        command.main(["--pull-everything"])
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err
