"""A stack for rehearsals: versions with any number and any fault, released with the operators' own command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from auto_deployment.versioning.repository import write_version
from scripts.check.image import REQUEST
from scripts.rehearse.compose_stack import ROOT, SERVICES, ComposeStack, ComposeStackError

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
    # An answer takes 0.3 ms. The canary has half the load of a stable service, so its caches are colder: the same code took
    # 1.28 times as long. With 1.2 a good version would end as inconclusive.
    "CANARY_MAX_SLOWDOWN": "1.5",
}
RELEASE_SECONDS = 1080.0
ASK_SECONDS = 60.0
INSTALL_SECONDS = 2500.0


def share_environments(checkout: Path) -> None:
    """Give another checkout the installed packages of this checkout, which saves an installation. Raises ComposeStackError."""
    command = [str(ROOT / "scripts" / "run"), "--install"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise ComposeStackError(done.stderr.strip())
    (checkout / ".runtime").mkdir(exist_ok=True)
    if not (checkout / ".runtime" / "environments").exists():
        (checkout / ".runtime" / "environments").symlink_to(ROOT / ".runtime" / "environments")


def write_service(checkout: Path, dockerfile: str, **faults: str) -> None:
    """Write a service with these faults of `faulty/faulty.py` to a checkout. `dockerfile` is the text of one without faults."""
    assignments = " ".join(f"{name}={value}" for name, value in faults.items())
    faulty = ROOT / "scripts" / "rehearse" / "faulty" / "faulty.py"
    (checkout / "app" / "faulty.py").write_text(faulty.read_text())
    (checkout / "app" / "Dockerfile").write_text(dockerfile + (FAULTY.format(faults=assignments) if faults else ""))


class ReleaseStack(ComposeStack):
    """A stack for releases, with compressed time."""

    bake_seconds = BAKE_MINUTES * 60

    def __init__(self, folder: Path, name: str, **settings: str) -> None:
        super().__init__(folder, name, **{**COMPRESSED, **settings})
        prometheus = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}"
        self.settings["PROMETHEUS_URL"] = self._environment["PROMETHEUS_URL"] = prometheus
        self._dockerfile = (self.folder / "app" / "Dockerfile").read_text()
        share_environments(self.folder)

    def put_version(self, number: int, **faults: str) -> None:
        """Write a version to the checkout: the model in service under the version's number, and a service with these faults."""
        model = self.folder / "data" / "model"
        if not model.exists():
            self.docker("cp", f"{self.container('stable-1')}:/srv/model", str(model))
        metadata = json.loads((model / "metadata.json").read_text())
        (model / "metadata.json").write_text(json.dumps({**metadata, "version": number}))
        write_version(self.folder / "data", number)
        write_service(self.folder, self._dockerfile, **faults)

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start `scripts/deploy.sh` in a process group of its own."""
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

    def wait_for_end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """A command's exit status and output, once it ends. After RELEASE_SECONDS: kills it and raises ComposeStackError."""
        try:
            output, _ = process.communicate(timeout=RELEASE_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill(process)
            raise ComposeStackError(f"{process.args!r} has not ended within {RELEASE_SECONDS:g} s") from error
        return process.returncode, output

    def deploy(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Run `scripts/deploy.sh` to its end; its exit status and its output. Raises ComposeStackError."""
        return self.wait_for_end(self.start(*arguments, **settings))

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a command and every process of its group."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def status(self) -> dict[str, Any]:
        """The answer of `status --json`."""
        command = [str(self.folder / "scripts" / "deploy.sh"), "status", "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
        return dict(json.loads(done.stdout))

    def state(self) -> dict[str, Any]:
        """The content of the release's state.json; empty before the first release."""
        path = self.folder / ".stack" / "release" / "state.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def step_under_way(self) -> str | None:
        """The step of the release under way; None if no release is."""
        under_way = self.state().get("under_way")
        return None if under_way is None else str(under_way["step"])

    def ends(self) -> list[dict[str, Any]]:
        """The end of each release, oldest first."""
        return list(self.state().get("ends", ()))

    def readiness(self, service: str) -> dict[str, Any]:
        """A service's answer on `/readyz`, asked inside its container. Raises ComposeStackError if it does not answer."""
        return dict(json.loads(self.compose("exec", "-T", service, "python", "-c", REQUEST, "/readyz").stdout))

    def version_and_track(self, service: str) -> tuple[int, str]:
        """The version and the track of a service. Raises ComposeStackError."""
        ready = self.readiness(service)
        return ready["version"], ready["track"]

    def answers_logged(self) -> int:
        """The number of requests for recommendations in NGINX's log."""
        lines = self.compose("exec", "-T", "nginx", "sh", "-c", "cat /var/log/nginx/tries*.log").stdout.splitlines()
        return sum('"uri":"/recommend/' in line for line in lines)

    def problems(self) -> list[str]:
        """What a release should not leave: a release still under way, and each service without the version in service."""
        state, found = self.state(), []
        if state.get("under_way") is not None:
            found.append(f"still under way: {state['under_way']['step']}")
        for service in SERVICES:
            if state["slots"][service] is not None:
                try:
                    version, track = self.version_and_track(service)
                except ComposeStackError:
                    found.append(f"{service} does not answer")
                else:
                    if (version, track) != (state["in_service"], "stable"):
                        found.append(
                            f"{service} runs version {version} as {track}, but version {state['in_service']} is in service"
                        )
        return found
