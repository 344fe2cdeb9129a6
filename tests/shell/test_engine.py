"""`scripts/dev engine` with a daemon of ours in place of Docker's: how it is started, and what is left when it has stopped."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCKERD = """#!/usr/bin/env bash
printf '%s\\n' "$@" >"{tmp}/arguments"
ls -l /proc/$$/fd >"{tmp}/descriptors"
touch "{tmp}/up"
trap 'rm -f "{tmp}/up"; exit 0' TERM
while :; do sleep 0.1; done
"""
DOCKER = """#!/usr/bin/env bash
[[ -e "{tmp}/up" ]] || exit 1
printf '1.2.3\\n'
"""


class Engine:
    """The command, on a machine of a test's own."""

    def __init__(self, root: Path, tmp: Path) -> None:
        self.tmp, self.config, self.link = tmp, tmp / "daemon.json", tmp / "containerd" / "containerd.sock"
        text = (root / "scripts" / "lib" / "engine.sh").read_text()
        places = {
            "STATE=/var/lib/movierec-engine": tmp / "state",
            "PIDFILE=/run/docker.pid": tmp / "docker.pid",
            "LOG=/var/log/movierec-engine.log": tmp / "log",
            "CONFIG=/etc/docker/daemon.json": self.config,
            "CONTAINERD=/run/containerd/containerd.sock": self.link,
        }
        for place, own in places.items():
            assert text.count(place) == 1, place
            text = text.replace(place, f"{place.partition('=')[0]}={own}")
        programs = {
            "lib/engine.sh": text.replace("\n  require_debian_root\n", "\n").replace("[[ ${EUID} == 0 ]]", "true"),
            "lib/processes.sh": (root / "scripts" / "lib" / "processes.sh").read_text(),
            "lib/docker.sh": f"#!/usr/bin/env bash\nprintf '%s\\n' {tmp}/bin/docker\n",
            "bin/docker": DOCKER.format(tmp=tmp),
            "bin/dockerd": DOCKERD.format(tmp=tmp),
        }
        for name, program in programs.items():
            (tmp / name).parent.mkdir(exist_ok=True)
            (tmp / name).write_text(program)
            (tmp / name).chmod(0o755)

    def run(self, *arguments: str, keep: tuple[int, ...] = ()) -> str:
        """Call it. Returns its output."""
        done = subprocess.run(
            [str(self.tmp / "lib" / "engine.sh"), *arguments],
            env={**os.environ, "PATH": f"{self.tmp / 'bin'}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
            pass_fds=keep,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def settings(self) -> Path:
        """The settings that the daemon was started with."""
        arguments = (self.tmp / "arguments").read_text().splitlines()
        return type(self.tmp)(arguments[arguments.index("--config-file") + 1])


@pytest.fixture
def engine(root: Path, tmp_path: Path) -> Iterator[Engine]:
    """None that runs yet; afterwards it is stopped."""
    made = Engine(root, tmp_path)
    yield made
    made.run("--stop")


def test_an_engine_of_ours_has_containerds_image_store(engine: Engine) -> None:
    """As Docker 29 has by default; its containerd is found where packaged engines have it, as long as the engine runs."""
    assert "started" in engine.run()
    assert json.loads(engine.settings.read_text()) == {"features": {"containerd-snapshotter": True}}
    assert engine.link.readlink().as_posix() == "../docker/containerd/containerd.sock"
    assert "uses the engine that is there" in engine.run()
    assert "stopped" in engine.run("--stop")
    assert not engine.link.is_symlink()


def test_settings_of_the_machine_are_used_as_they_are(engine: Engine) -> None:
    """Nobody's daemon.json is changed or passed by."""
    engine.config.write_text('{"data-root": "/srv/docker"}')
    engine.run()
    assert engine.settings == engine.config
    assert engine.config.read_text() == '{"data-root": "/srv/docker"}'


def test_a_containerd_of_the_machine_keeps_its_socket(engine: Engine) -> None:
    """A link would hide it; one that an engine left behind, which would keep the next from starting its own, goes."""
    engine.link.parent.mkdir()
    engine.link.touch()
    engine.run()
    assert not engine.link.is_symlink()
    engine.run("--stop")
    assert engine.link.exists()
    engine.link.unlink()
    engine.link.symlink_to("gone")
    engine.run()
    assert engine.link.readlink().as_posix() == "../docker/containerd/containerd.sock"


def test_an_engine_keeps_no_lock_of_its_caller(engine: Engine) -> None:
    """What a caller has open is closed in the engine, which outlives them."""
    path = engine.tmp / "callers.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        engine.run(keep=(held.fileno(),))
    assert str(path) not in (engine.tmp / "descriptors").read_text()
    with path.open("w") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
