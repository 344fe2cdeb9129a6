"""Objects of Argo Rollouts 1.10.1 as the API server gives them, and a server that gives them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMESPACE, NAME, TOKEN = "movierec", "movierec-service", "t0ken-of-the-pod"
REVISION = "rollout.argoproj.io/revision"


def at(seconds: float) -> str:
    """A time as Kubernetes writes it, in whole seconds."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def condition(kind: str, status: str, reason: str, message: str, since: float) -> dict[str, Any]:
    """A condition of a Rollout."""
    times = {"lastTransitionTime": at(since), "lastUpdateTime": at(since)}
    return {"type": kind, "status": status, "reason": reason, "message": message, **times}


def rollout(version: int | str, wanted: str, serving: str, changed: float, **status: Any) -> dict[str, Any]:
    """A Rollout: the template `wanted` runs `version`, `serving` is in service, since or until `changed`.

    `changed` stays while one version after another is not promoted. `written`: when the template was set; default: `changed`.
    `progressing`: reason, message and time of that condition.
    """
    written = status.pop("written", changed)
    tag = f"model-{version}" if isinstance(version, int) else version
    is_done = wanted == serving
    reason, message, since = status.pop(
        "progressing", ("ReplicaSetUpdated", f'ReplicaSet "{NAME}-{wanted}" is progressing.', 0)
    )
    phase = "Healthy" if is_done else "Progressing"
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "uid": "4c4e5f9f",
            "generation": 3,
            "creationTimestamp": at(0),
            "annotations": {REVISION: "2"},
            "managedFields": [
                {
                    "manager": "helm",
                    "operation": "Update",
                    "time": at(written),
                    "fieldsV1": {"f:spec": {"f:template": {"f:spec": {}}}},
                },
                {
                    "manager": "rollouts-controller",
                    "operation": "Update",
                    "time": at(written + 9),
                    "fieldsV1": {"f:metadata": {"f:annotations": {}}},
                },
                {
                    "manager": "rollouts-controller",
                    "operation": "Update",
                    "subresource": "status",
                    "time": at(written + 9),
                    "fieldsV1": {"f:status": {}},
                },
            ],
        },
        "spec": {
            "replicas": 2,
            "progressDeadlineAbort": True,
            "template": {"spec": {"containers": [{"name": "service", "image": f"registry.example:5000/movierec-app:{tag}"}]}},
        },
        "status": {
            "observedGeneration": "3",
            "currentPodHash": wanted,
            "stableRS": serving,
            "phase": phase,
            "conditions": [
                condition("Available", "True", "AvailableReason", "Rollout has minimum availability", 0),
                condition("Completed", str(is_done), "RolloutCompleted", "RolloutCompleted", changed),
                condition("Progressing", "True", reason, message, since),
            ],
            **status,
        },
    }


def aborted(
    version: int, wanted: str, serving: str, changed: float, stopped: float, why: str = "", **status: Any
) -> dict[str, Any]:
    """A Rollout that its controller, or an operator, aborted. `changed` and `status` as in `rollout`."""
    message = "Rollout aborted update to revision 2" + (f": {why}" if why else "")
    return rollout(
        version,
        wanted,
        serving,
        changed,
        progressing=("RolloutAborted", message, stopped),
        phase="Degraded",
        message=f"RolloutAborted: {message}",
        abort=True,
        abortedAt=at(stopped),
        **status,
    )


def analysis(wanted: str, version: int, started: float, *values: tuple[float, str, str], number: int = 1) -> dict[str, Any]:
    """An AnalysisRun of the template `wanted`: time, phase and value of each measurement."""
    measurements = [
        {"phase": phase, "startedAt": at(when), "finishedAt": at(when), **({"value": json.dumps(value)} if value else {})}
        for when, phase, value in values
    ]
    return {
        "metadata": {
            "name": f"{NAME}-{wanted}-2-{number}",
            "labels": {"rollouts-pod-template-hash": wanted, "rollout-type": "Step", "step-index": "1"},
            "ownerReferences": [{"kind": "Rollout", "name": NAME, "controller": True}],
        },
        "spec": {
            "args": [
                {"name": "version", "value": f"registry.example:5000/movierec-app:model-{version}"},
                {"name": "since", "value": ""},
            ]
        },
        "status": {
            "phase": measurements[-1]["phase"] if measurements else "Running",
            "startedAt": at(started),
            "metricResults": [{"name": "verdict", "phase": "Running", "measurements": measurements}],
        },
    }


class ApiServer(ThreadingHTTPServer):
    """An API server with one Rollout and its AnalysisRuns. `status`: what it answers where it is not 200."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.rollout: dict[str, Any] | None = None
        self.runs: list[dict[str, Any]] = []
        self.status = 200
        self.count = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, selector: str) -> tuple[int, dict[str, Any]]:
        """Status and object at a path."""
        self.count += 1
        base = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}"
        if self.status != 200:
            return self.status, {"kind": "Status"}
        if path == f"{base}/rollouts/{NAME}" and self.rollout is not None:
            return 200, self.rollout
        if path == f"{base}/analysisruns":
            label, _, value = selector.partition("=")
            return 200, {"items": [each for each in self.runs if each["metadata"]["labels"].get(label) == value]}
        return 404, {"kind": "Status"}


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        """Give an object to who has the token."""
        parts = urlsplit(self.path)
        selector = parse_qs(parts.query).get("labelSelector", [""])[0]
        is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        status, body = self.server.answer(parts.path, selector) if is_known else (401, {"kind": "Status"})
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def api_server(port: int = 0) -> Iterator[ApiServer]:
    """A running one."""
    with running(ApiServer(port)) as server:
        yield server


def account(folder: Path) -> Path:
    """The files of a pod's service account."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("token", TOKEN), ("namespace", NAMESPACE), ("ca.crt", "")):
        (folder / name).write_text(content)
    return folder
