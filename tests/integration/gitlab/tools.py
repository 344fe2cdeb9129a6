"""What these tests need and few machines have, fetched once into `.cache/gitlab`.

GitLab's runner for one's own machine, Node where there is none, and of Debian's packages sshd and rsync, unpacked but not
installed: no daemon starts, no setting changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CACHE = ROOT / ".cache" / "gitlab"
OLDEST_NODE = 18
FETCH_SECONDS = 600.0


def gitlab_ci_local() -> list[str]:
    """The command of gitlab-ci-local, in the version of package.json, with its packages as package-lock.json pins them."""
    with _filled("npm", HERE / "package.json", HERE / "package-lock.json", Path(_npm()[0])) as folder:
        if folder is not None:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            _run(*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(CACHE / "npm-cache"), cwd=folder)
    return [_node(), str(CACHE / "npm" / "node_modules" / ".bin" / "gitlab-ci-local")]


def debian(program: str) -> Path:
    """A program of openssh-server or rsync: the machine's own, or Debian's; to be run with `library_path`."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return Path(found) if found else next(_debian_root().glob(f"usr/*bin/{program}"))


def library_path() -> str:
    """Where the unpacked programs find libraries that the machine lacks; nothing where none was unpacked."""
    root = CACHE / "debian" / "root"
    return ":".join(str(path) for path in (*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")))


def _node() -> str:
    node = shutil.which("node")
    if node and shutil.which("npm"):
        version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
        if version.startswith("v") and int(version[1:].partition(".")[0]) >= OLDEST_NODE:
            return node
    with _filled("node", HERE / "node.txt") as folder:
        if folder is not None:
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(ROOT / "scripts" / "lib" / "install-lock.sh"), str(folder / "bin" / "python"), str(HERE / "node.txt"))
    return str(CACHE / "node" / "bin" / "node")


def _npm() -> list[str]:
    return [str(Path(_node()).with_name("npm"))]


def _debian_root() -> Path:
    with _filled("debian", Path(__file__)) as folder:
        if folder is not None:
            _unpack(folder)
    return CACHE / "debian" / "root"


def _unpack(folder: Path) -> None:
    """Fetch the two packages, and what of theirs the machine lacks, with apt's lists and archives in a folder of our own."""
    for name in ("lists/partial", "archives/partial", "root"):
        (folder / name).mkdir(parents=True)
    folders = [f"Dir::State::Lists={folder}/lists", f"Dir::Cache={folder}", f"Dir::Cache::archives={folder}/archives"]
    options = [*folders, "Debug::NoLocking=1", "Acquire::Check-Valid-Until=false", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", "-y", *(word for option in options for word in ("-o", option))]
    _run(*apt, "update")
    _run(*apt, "install", "--no-install-recommends", "--download-only", "openssh-server", "rsync")
    for archive in sorted((folder / "archives").glob("*.deb")):
        _run("dpkg", "-x", str(archive), str(folder / "root"))


@contextmanager
def _filled(name: str, *sources: Path) -> Iterator[Path | None]:
    """A new empty folder to be filled, which then becomes `CACHE/name`; None where it is there, made from the same sources."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder, aside = CACHE / name, CACHE / f"{name}.part"
    made_of = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "made-of"
        if stamp.exists() and stamp.read_text() == made_of:
            yield None
            return
        for stale in (folder, aside):
            shutil.rmtree(stale, ignore_errors=True)
        aside.mkdir()
        yield aside
        aside.rename(folder)
        stamp.write_text(made_of)


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command[:4])} ...: {done.stdout}{done.stderr}"
