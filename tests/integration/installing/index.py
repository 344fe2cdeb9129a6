"""A package index of the test's own, on loopback: small packages of any name and version, with what they require."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.http_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SETUP = "from setuptools import setup\nsetup(name={name!r}, version={version!r}, py_modules=[{module!r}])\n"


class Index:
    """Packages below `folder`, served as PEP 503's simple index by `served`; `asked` has the files that were fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def add_wheel(
        self,
        name: str,
        version: str,
        *,
        requires: Sequence[str] = (),
        extras: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
    ) -> Path:
        """A pure wheel; its module states its version."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        headers = [f"Name: {name}", f"Version: {version}", *(f"Provides-Extra: {extra}" for extra in extras)]
        metadata = "\n".join(["Metadata-Version: 2.1", *headers, *(f"Requires-Dist: {each}" for each in requires), ""])
        content = {
            f"{module}/__init__.py": f"VERSION = {version!r}\n",
            **(files or {}),
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        records = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in content.items()]
        content[f"{info}/RECORD"] = "\n".join([*records, f"{info}/RECORD,,", ""])
        path = self._place(name, f"{module}-{version}-py3-none-any.whl")
        with zipfile.ZipFile(path, "w") as wheel:
            for inner, text in content.items():
                wheel.writestr(inner, text)
        return path

    def add_sdist(self, name: str, version: str) -> Path:
        """A source distribution of the old kind: a setup.py, and no pyproject.toml."""
        module = name.replace("-", "_")
        content = {
            "setup.py": SETUP.format(name=name, version=version, module=module),
            f"{module}.py": f"VERSION = {version!r}\n",
            "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n",
        }
        path = self._place(name, f"{name}-{version}.tar.gz")
        with tarfile.open(path, "w:gz") as archive:
            for inner, text in content.items():
                member = tarfile.TarInfo(f"{name}-{version}/{inner}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        return path

    def add_file(self, name: str, path: Path) -> Path:
        """A distribution that is there already."""
        placed = self._place(name, path.name)
        placed.write_bytes(path.read_bytes())
        return placed

    def _place(self, name: str, file: str) -> Path:
        folder = self.folder / "simple" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / file

    @contextmanager
    def served(self) -> Iterator[str]:
        """The index's address."""
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path.rpartition("/")[2])

        handler = partial(Handler, directory=str(self.folder))
        with running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
            yield f"http://127.0.0.1:{server.server_port}/simple"


def lock_of(pins: Mapping[str, Path]) -> str:
    """A lock as the project's are written; `pins` has the file of each `name==version`."""
    lines = []
    for pin, path in pins.items():
        lines += [f"{pin} \\", f"    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}", "    # via a test"]
    return "\n".join([*lines, ""])


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
