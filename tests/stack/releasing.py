"""A stack that versions are released to: models of any number, faults in the service, the command as an operator calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from tests.stack.stack import ROOT, UP_SECONDS, Stack

if TYPE_CHECKING:
    from pathlib import Path

FAULTY = """
COPY app/faulty.py /srv/faulty.py
ENV {faults}
CMD ["gunicorn", "--config", "/srv/app/gunicorn.conf.py", "faulty:main()"]
"""
COMPRESSED = {
    "CANARY_BAKE_MINUTES": "0.5",
    "CANARY_MAX_BAKE_MINUTES": "1",
    "CANARY_CHECK_SECONDS": "5",
    "CANARY_MIN_REQUESTS": "200",
}
RELEASE_SECONDS = 300.0


class ReleaseStack(Stack):
    """A stack with time compressed."""

    def __init__(self, folder: Path, name: str, **settings: str) -> None:
        super().__init__(folder, name, **{**COMPRESSED, **settings})
        self._environment["PROMETHEUS_URL"] = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}"
        self._dockerfile = (self.folder / "app" / "Dockerfile").read_text()
        if not (self.folder / ".venv").exists():
            (self.folder / ".venv").symlink_to(ROOT / ".venv")

    def put_version(self, number: int, **faults: str) -> None:
        """Have the tree hold a version: the model that is served, under that number, in a service with faults or none."""
        model = self.folder / "data" / "model"
        if not model.exists():
            container = self.container("stable-1")
            self.docker("cp", f"{container}:/srv/model", str(model))
        metadata = json.loads((model / "metadata.json").read_text())
        (model / "metadata.json").write_text(json.dumps({**metadata, "version": number}))
        (self.folder / "data" / "version.txt").write_text(f"{number}\n")
        told = " ".join(f"{name}={value}" for name, value in faults.items())
        more = FAULTY.format(faults=told) if faults else ""
        (self.folder / "app" / "faulty.py").write_text((ROOT / "tests" / "stack" / "faulty" / "faulty.py").read_text())
        (self.folder / "app" / "Dockerfile").write_text(self._dockerfile + more)

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Call the command, in a group of its own."""
        return subprocess.Popen(
            [str(self.folder / "scripts" / "deploy.sh"), *arguments],
            cwd=self.folder,
            env={**self._environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def deploy(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Call the command and wait for its end: status, and what it said."""
        process = self.start(*arguments, **settings)
        said, _ = process.communicate(timeout=RELEASE_SECONDS)
        print(f"$ deploy.sh {' '.join(arguments)}\n{said}status {process.returncode}")
        return process.returncode, said

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a call with all that it started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def told(self) -> dict[str, Any]:
        """What `status --json` says."""
        process = self.start("status", "--json")
        said, _ = process.communicate(timeout=UP_SECONDS)
        return dict(json.loads(said))

    def served(self, service: str) -> tuple[int, str]:
        """Version and track of a service, asked through nobody."""
        told = json.loads(self._ready(service))
        return told["version"], told["track"]

    def _ready(self, service: str) -> str:
        code = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:5000/readyz').read().decode())"
        return self.compose("exec", "-T", service, "python", "-c", code).stdout
