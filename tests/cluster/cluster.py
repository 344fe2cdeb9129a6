"""A release of the chart on the cluster that `scripts/dev cluster` makes, and the drills on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from scripts.rehearse.traffic import Traffic, Visits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
MAKE = str(ROOT / "scripts" / "lib" / "cluster.sh")
STATE = Path("/var/lib/movierec-cluster")
NODES = {"node-1": "10.213.98.11", "node-2": "10.213.98.12"}
RELEASE = "movierec"
# Of the tests alone: a release that somebody else has on this cluster stays. The tests need its port 8082, and fail without.
NAMESPACE = "movierec-test"
PORT = 8082
ENFORCE = "pod-security.kubernetes.io/enforce"
RATE = 100.0
IMAGES = (
    "movierec-app:stable",
    "nginx:1.30.0",
    "mysql:9.7.0",
    "prom/prometheus:v3.5.0",
    "ghcr.io/jaqx0r/mtail:3.2.24",
    "prom/alertmanager:v0.33.0",
)
# The same image under another name: an upgrade then starts new pods.
NEXT = "movierec-app:next"


def run(*command: str, seconds: float = 300.0, content: str | None = None) -> str:
    """Standard output of a command. The error of a failed one has its output."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), input=content or "", capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(command[:6])}: {done.stdout}{done.stderr}"
    return done.stdout


def environment() -> dict[str, str]:
    """Of kubectl and helm: the cluster's own programs first."""
    names = ROOT / "scripts" / "lib" / "cluster" / "names.sh"
    script = f'ROOT="{ROOT}"; source "{names}"; printf %s "${{BIN}}"'
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=10, check=True).stdout
    return {**os.environ, "KUBECONFIG": str(STATE / "admin.conf"), "PATH": f"{found}:{os.environ['PATH']}"}


def kubectl(*arguments: str, seconds: float = 120.0) -> str:
    """Output of kubectl in the release's namespace."""
    return run("kubectl", "--namespace", NAMESPACE, *arguments, seconds=seconds)


def found(*arguments: str) -> Any:
    """The objects that `kubectl get` finds."""
    return json.loads(kubectl("get", *arguments, "--output", "json"))


def helm(command: str, *arguments: str, seconds: float = 300.0) -> str:
    """Output of helm with the chart as packaged and the values of this cluster."""
    chart = run(str(ROOT / "scripts" / "lib" / "chart.sh")).strip()
    values = str(ROOT / "kubernetes" / "own-cluster.yaml")
    return run("helm", "--namespace", NAMESPACE, command, RELEASE, chart, "--values", values, *arguments, seconds=seconds)


def load(*images: str) -> None:
    """Give images of the engine to every node."""
    run(MAKE, "--load", *images, seconds=600)


def uninstall() -> None:
    """Remove the release with its namespace, and empty its volumes for the next one: the cluster has six of them.

    MySQL ends with the services, whose shippers wait for it for two minutes where they have answers left.
    """
    run("helm", "--namespace", NAMESPACE, "uninstall", RELEASE, "--wait", "--ignore-not-found")
    run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout", "240s", seconds=270)
    for volume in found("persistentvolumes")["items"]:
        if volume["spec"].get("claimRef", {}).get("namespace") == NAMESPACE:
            if volume["status"]["phase"] != "Available":
                folder = Path(volume["spec"]["local"]["path"])
                shutil.rmtree(folder)
                folder.mkdir()
            free, name = [{"op": "remove", "path": "/spec/claimRef"}], volume["metadata"]["name"]
            run("kubectl", "patch", "persistentvolume", name, "--type", "json", "--patch", json.dumps(free))


def make_namespace() -> None:
    """A namespace whose pods must have the strictest of Kubernetes' own standards: the API server refuses others."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {ENFORCE: "restricted"}}}
    run("kubectl", "apply", "--filename", "-", content=json.dumps(namespace))


def install(*arguments: str) -> float:
    """Install the chart, without waiting for its pods. Returns the seconds until node 1 gives an answer on 8082.

    MySQL is on node 1, so that drills may cut off or drain node 2 without it.
    """
    make_namespace()
    claim = [{"op": "add", "path": "/spec/claimRef", "value": {"namespace": NAMESPACE, "name": f"data-{RELEASE}-mysql-0"}}]
    free = [each["metadata"]["name"] for each in found("persistentvolumes")["items"] if each["status"]["phase"] == "Available"]
    volume = next((name for name in free if name.startswith("node-1-")), "")
    assert volume, "node 1 has no free volume: another release has them all"
    run("kubectl", "patch", "persistentvolume", volume, "--type", "json", "--patch", json.dumps(claim))
    began = time.monotonic()
    helm("install", *arguments)
    wait_for_answer("node-1")
    return time.monotonic() - began


@contextmanager
def installed(*arguments: str) -> Iterator[float]:
    """A release of the chart, see `install`. It is removed at the end, also if it does not start."""
    try:
        yield install(*arguments)
    finally:
        uninstall()


def upgrade(*arguments: str) -> None:
    """Upgrade to the chart with other values, and wait for the pods."""
    helm("upgrade", "--wait", "--timeout", "4m", *arguments)


def answer(node: str) -> requests.Response:
    """An answer on a node's port."""
    return requests.get(f"http://{NODES[node]}:{PORT}/recommend/1", timeout=2, proxies={"http": ""})


def wait_for_answer(node: str, seconds: float = 180.0) -> None:
    """Wait until a node's port gives one."""

    def answers() -> bool:
        try:
            return answer(node).status_code == 200
        except requests.RequestException:
            return False

    wait_until(answers, seconds, "no answer on 8082")


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait, at most so long."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{otherwise} within {seconds:g} s: {kubectl('get', 'pods', '--output', 'wide')}"
        time.sleep(0.2)


def rolled_out() -> None:
    """Wait until every Deployment, StatefulSet and Rollout has all its pods."""
    for kind in ("deployment", "statefulset"):
        for each in found(kind)["items"]:
            kubectl("rollout", "status", f"{kind}/{each['metadata']['name']}", "--timeout", "170s", seconds=180)
    wait_until(lambda: all(_is_whole(each) for each in found("rollouts")["items"]), 170, "the Rollout is not healthy")


def _is_whole(rollout: dict[str, Any]) -> bool:
    status = rollout["status"]
    return bool(status.get("phase") == "Healthy" and status.get("availableReplicas") == rollout["spec"]["replicas"])


def pods(part: str) -> dict[str, str]:
    """The nodes of a part's running pods, by pod."""
    items = found("pods", "--selector", f"app.kubernetes.io/component={part}")["items"]
    return {
        each["metadata"]["name"]: each["spec"].get("nodeName", "")
        for each in items
        if each["status"]["phase"] == "Running" and "deletionTimestamp" not in each["metadata"]
    }


def is_ready(node: str) -> bool:
    """Whether the cluster has heard of a node lately."""
    return any((each["type"], each["status"]) == ("Ready", "True") for each in found("node", node)["status"]["conditions"])


def services() -> dict[str, str]:
    """The nodes of all running pods of the services, by pod: of two Deployments, or of a Rollout."""
    return pods("stable") | pods("canary") | pods("service")


@dataclass
class Tally:
    """The results of a drill, which is repeated until it had `wanted` requests."""

    wanted: int
    requests: int = 0
    failed: int = 0
    kinds: list[str] = field(default_factory=list)

    @property
    def short(self) -> bool:
        """Whether it needs more requests."""
        return self.requests < self.wanted

    def add(self, visits: Visits) -> Visits:
        """Count the visits of one time."""
        self.requests += visits.requests
        self.failed += visits.failed
        self.kinds += [visits.kinds] if visits.kinds else []
        return visits


def under_load(folder: Path, drill: Callable[[], None], node: str = "node-1", rate: float = RATE) -> Visits:
    """Visits through a node's port, 3 s before a drill, during the drill and 10 s after it."""
    traffic = Traffic(PORT, rate, folder / "visits.log", {**os.environ, "PYTHONPATH": str(ROOT)}, host=NODES[node])
    traffic.start()
    try:
        time.sleep(3)
        drill()
        time.sleep(10)
    finally:
        visits = traffic.stop()
    return visits


def call_with(token: str, folder: Path, *arguments: str, namespace: str = NAMESPACE) -> tuple[int, str]:
    """Status and output of kubectl with a token and no other login."""
    nothing = folder / "kubeconfig"
    nothing.touch()
    login = ("--kubeconfig", str(nothing), "--server", f"https://{NODES['node-1']}:6443", "--token", token)
    authority = ("--certificate-authority", str(STATE / "pki" / "ca.crt"), "--namespace", namespace)
    done = subprocess.run(
        ["kubectl", *login, *authority, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@contextmanager
def cut_off(node: str) -> Iterator[None]:
    """A node whose cable is out meanwhile: no packet reaches or leaves it."""
    script = 'source "${ROOT}/scripts/lib/cluster/names.sh"; ip -n "$(netns switch)" link set "$@"'

    def cable(state: str) -> None:
        run("env", f"ROOT={ROOT}", "bash", "-c", script, "ip", node, state)

    cable("down")
    try:
        yield
    finally:
        cable("up")


def signal_program(name: str, number: int) -> None:
    """Send a signal to a program of the cluster, such as kube-apiserver."""
    (pid,) = [line.split()[1] for line in (STATE / "processes").read_text().splitlines() if line.split()[0] == name]
    os.kill(int(pid), number)


def kill_container(pod: str, container: str) -> None:
    """Kill the first process of a container with signal 9, which no process inside can send to it."""
    _task(pod, container, "kill", "--signal", "9")


@contextmanager
def paused(pod: str, container: str) -> Iterator[None]:
    """A container whose processes stand still meanwhile."""
    _task(pod, container, "pause")
    try:
        yield
    finally:
        _task(pod, container, "resume")


def _task(pod: str, container: str, *command: str) -> None:
    """Run a command of containerd on a container's processes."""
    status = found("pod", pod)
    (identifier,) = [
        each["containerID"].removeprefix("containerd://")
        for each in status["status"]["containerStatuses"]
        if each["name"] == container
    ]
    script = 'source "${ROOT}/scripts/lib/cluster/names.sh"; ctr "$@"'
    tasks = (status["spec"]["nodeName"], "tasks", *command, identifier)
    run("env", f"ROOT={ROOT}", "bash", "-c", script, "ctr", *tasks)


def rows() -> int:
    """The number of answers in the database."""
    return int(sql("select count(*) from reccom")[0][0])


def sql(statement: str) -> list[list[str]]:
    """Rows of the database, as root in its pod."""
    script = (
        f'mysql -h 127.0.0.1 -uroot -p"$(cat /run/secrets/movierec/root_password)" -N -B movierec -e "{statement}" 2>/dev/null'
    )
    output = kubectl("exec", f"{RELEASE}-mysql-0", "--", "sh", "-c", script)
    return [line.split("\t") for line in output.splitlines()]
