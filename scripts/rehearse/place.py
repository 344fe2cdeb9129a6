"""A server of the rehearsal's own: a stack, versions of any number with faults, the command as operators call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from scripts.check.image import ASK
from scripts.rehearse.stack import ROOT, SERVICES, Stack, StackError

if TYPE_CHECKING:
    from pathlib import Path

FAULTY = """
COPY --chmod=644 app/faulty.py /srv/faulty.py
ENV {faults}
CMD ["gunicorn", "--config", "/srv/app/gunicorn.conf.py", "faulty:main()"]
"""
BAKE_MINUTES = 0.5
COMPRESSED = {
    "CANARY_BAKE_MINUTES": f"{BAKE_MINUTES}",
    "CANARY_MAX_BAKE_MINUTES": "1.5",
    "CANARY_CHECK_SECONDS": "5",
    "CANARY_MIN_REQUESTS": "200",
}
RELEASE_SECONDS = 1080.0
ASK_SECONDS = 60.0
INSTALL_SECONDS = 2500.0


def share_environments(checkout: Path) -> None:
    """Let a checkout run with the packages of this one: it would install the same. Raises StackError."""
    command = [str(ROOT / "scripts" / "run"), "--install"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise StackError(done.stderr.strip())
    (checkout / ".runtime").mkdir(exist_ok=True)
    if not (checkout / ".runtime" / "environments").exists():
        (checkout / ".runtime" / "environments").symlink_to(ROOT / ".runtime" / "environments")


class ReleaseStack(Stack):
    """A stack that versions are released to, with time compressed."""

    bake_seconds = BAKE_MINUTES * 60

    def __init__(self, folder: Path, name: str, **settings: str) -> None:
        super().__init__(folder, name, **{**COMPRESSED, **settings})
        self._environment["PROMETHEUS_URL"] = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}"
        self._dockerfile = (self.folder / "app" / "Dockerfile").read_text()
        share_environments(self.folder)

    def put_version(self, number: int, **faults: str) -> None:
        """Have the tree hold a version: the model that is served, under that number, in a service with faults or none."""
        model = self.folder / "data" / "model"
        if not model.exists():
            self.docker("cp", f"{self.container('stable-1')}:/srv/model", str(model))
        metadata = json.loads((model / "metadata.json").read_text())
        (model / "metadata.json").write_text(json.dumps({**metadata, "version": number}))
        (self.folder / "data" / "version.txt").write_text(f"{number}\n")
        told = " ".join(f"{name}={value}" for name, value in faults.items())
        faulty = ROOT / "scripts" / "rehearse" / "faulty" / "faulty.py"
        (self.folder / "app" / "faulty.py").write_text(faulty.read_text())
        (self.folder / "app" / "Dockerfile").write_text(self._dockerfile + (FAULTY.format(faults=told) if faults else ""))

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

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a call's end: status, and what it said. Raises StackError where it does not come."""
        try:
            said, _ = process.communicate(timeout=RELEASE_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill(process)
            raise StackError(f"{process.args!r} has not ended within {RELEASE_SECONDS:g} s") from error
        return process.returncode, said

    def deploy(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Call the command and wait for its end."""
        return self.end(self.start(*arguments, **settings))

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a call with all that it started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def told(self) -> dict[str, Any]:
        """What `status --json` says."""
        command = [str(self.folder / "scripts" / "deploy.sh"), "status", "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
        return dict(json.loads(done.stdout))

    def state(self) -> dict[str, Any]:
        """What the release keeps of itself; empty before the first one."""
        path = self.folder / ".stack" / "release" / "state.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def step_under_way(self) -> str | None:
        """The step of the release under way; None where there is none."""
        under_way = self.state().get("under_way")
        return None if under_way is None else str(under_way["step"])

    def ends(self) -> list[dict[str, Any]]:
        """How each release ended, oldest first."""
        return list(self.state().get("ends", ()))

    def ready(self, service: str) -> dict[str, Any]:
        """What a service says of itself, asked through nobody. Raises StackError where it says nothing."""
        return dict(json.loads(self.compose("exec", "-T", service, "python", "-c", ASK, "/readyz").stdout))

    def served(self, service: str) -> tuple[int, str]:
        """Version and track of a service."""
        told = self.ready(service)
        return told["version"], told["track"]

    def answers_logged(self) -> int:
        """How many requests for recommendations NGINX has logged."""
        lines = self.compose("exec", "-T", "nginx", "sh", "-c", "cat /var/log/nginx/tries*.log").stdout.splitlines()
        return sum('"uri":"/recommend/' in line for line in lines)

    def ailments(self) -> list[str]:
        """What is not as a release should leave it: who does not run the version in service, what is still under way."""
        state, found = self.state(), []
        if state.get("under_way") is not None:
            found.append(f"still under way: {state['under_way']['step']}")
        for service in SERVICES:
            if state["slots"][service] is not None:
                try:
                    version, track = self.served(service)
                except StackError:
                    found.append(f"{service} does not answer")
                else:
                    if (version, track) != (state["in_service"], "stable"):
                        found.append(f"{service} runs version {version} as {track}, in service is {state['in_service']}")
        return found
