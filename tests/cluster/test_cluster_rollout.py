"""Releases by Argo Rollouts and our verdict on a real cluster, under load. Each drill prints its failed requests of all."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from scripts.lib.images.docker import docker
from scripts.rehearse.cases import LATER
from scripts.rehearse.release_stack import COMPRESSED
from tests.cluster import cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from scripts.rehearse.traffic import Visits

pytestmark = pytest.mark.cluster

NAME = "movierec-service"
PODS = 3
VERDICT = "movierec-verdict:test"
FIRST, GOOD = 1, 2
# Each version has the model of movierec-app:stable under its own number, and these faults of scripts/rehearse/faulty.
VERSIONS: Mapping[int, Mapping[str, str]] = {
    FIRST: {},
    GOOD: {},
    3: LATER | {"FAULT_SECONDS": "0.7"},
    4: LATER | {"FAULT_ERROR_SHARE": "0.2"},
    5: LATER | {"FAULT_WORKER_ANSWERS": "50"},
    6: {"FAULT_START": "1"},
}
SLOW, CRASHES = "slower than 500 ms", "workers crash"
FAULTY = {SLOW: 3, "20 % errors": 4, CRASHES: 5, "does not start": 6}
# A good version passes after half a minute. A busy machine may need longer.
SETTINGS = COMPRESSED | {"CANARY_MAX_BAKE_MINUTES": "5"}
VALUES = (
    *("--set", "rollout.enabled=true,rollout.deadlineSeconds=60,deployer.enabled=true"),
    *("--set-string", f"image.tag={FIRST}", "--set", f"verdict.enabled=true,verdict.image={VERDICT}"),
    *(part for name, value in SETTINGS.items() for part in ("--set-string", f"verdict.settings.{name}={value}")),
)
RELEASE_SECONDS = 400.0
# A fifth of the first tries waits for 260 ms before NGINX repeats it. At more visits, a busy machine is late for those.
SLOW_RATE = 40.0


def build(number: int, folder: Path) -> str:
    """The image of a version."""
    faults = VERSIONS[number]
    metadata = json.loads(docker("run", "--rm", "--entrypoint", "cat", "movierec-app:stable", "/srv/model/metadata.json"))
    (folder / "metadata.json").write_text(json.dumps({**metadata, "version": number}))
    lines = ["FROM movierec-app:stable", "COPY --chmod=644 metadata.json /srv/model/metadata.json"]
    if faults:
        faulty = cluster.ROOT / "scripts" / "rehearse" / "faulty" / "faulty.py"
        (folder / "faulty.py").write_text(faulty.read_text())
        lines += ["COPY --chmod=644 faulty.py /srv/faulty.py", f"ENV {' '.join(f'{k}={v}' for k, v in faults.items())}"]
        lines += ['CMD ["gunicorn", "--config", "/srv/app/gunicorn.conf.py", "faulty:main()"]']
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    image = f"movierec-app:{number}"
    docker("build", "--quiet", "--tag", image, str(folder))
    return image


@pytest.fixture(scope="module")
def _installed(nodes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001 - the cluster is there
    """The first version in service, as a Rollout, and the images of the others on the nodes."""
    images = [build(number, tmp_path_factory.mktemp(f"version-{number}")) for number in VERSIONS]
    root = str(cluster.ROOT)
    docker("build", "--quiet", "--file", f"{root}/kubernetes/verdict/Dockerfile", "--tag", VERDICT, root, timeout=900)
    cluster.load(*images, VERDICT)
    cluster.install(*VALUES)
    cluster.rolled_out()
    cluster.wait_until(lambda: rollout()["status"].get("phase") == "Healthy", 120, "the Rollout is not healthy")
    yield
    cluster.uninstall()
    docker("image", "rm", *images, VERDICT)


def rollout() -> dict[str, Any]:
    """The Rollout as it is now."""
    found: dict[str, Any] = cluster.found("rollout", NAME)
    return found


def image_patch(number: int) -> str:
    """The JSON patch that releases a version: the service and its shipper in one step."""
    places = (f"/spec/template/spec/{kind}/0/image" for kind in ("containers", "initContainers"))
    return json.dumps([{"op": "replace", "path": place, "value": f"movierec-app:{number}"} for place in places])


def release(number: int) -> None:
    """Set the image, as a pipeline does."""
    cluster.kubectl("patch", "rollout", NAME, "--type", "json", "--patch", image_patch(number))


def baking() -> bool:
    """Whether the verdict is asked about the canary."""
    return bool(rollout()["status"].get("currentStepIndex") == 1)


def wait_for_end() -> str:
    """Wait for the end of a release: promoted or aborted."""

    def end() -> str:
        found = rollout()
        status = found["status"]
        if status.get("observedGeneration") != str(found["metadata"]["generation"]):
            return ""
        if status.get("abort"):
            return "aborted"
        return "promoted" if status.get("phase") == "Healthy" and status["currentPodHash"] == status["stableRS"] else ""

    cluster.wait_until(lambda: bool(end()), RELEASE_SECONDS, "the release does not end")
    return end()


@dataclass(frozen=True)
class Ended:
    """A release under load: its end, what clients had, and the rows of its answers by version and track."""

    end: str
    visits: Visits
    rows: dict[tuple[int, str], int]


def released(number: int, folder: Path, meanwhile: Callable[[], None] | None = None, rate: float = cluster.RATE) -> Ended:
    """Release a version under load, and do something once it bakes. Every pod of the other version has ended afterwards."""
    (before,) = cluster.sql("select coalesce(max(answer_id), ''), count(*) from reccom")
    ends: list[str] = []
    began = time.monotonic()

    def drill() -> None:
        release(number)
        if meanwhile is not None:
            cluster.wait_until(baking, 120, "the version does not bake")
            meanwhile()
        ends.append(wait_for_end())
        cluster.wait_until(lambda: len(service_pods()) == PODS, 120, "pods of the other version do not end")

    visits = cluster.under_load(folder, drill, rate=rate)
    cluster.wait_until(lambda: cluster.rows() >= int(before[1]) + visits.requests, 30, "answers have no row")
    found = cluster.sql(
        f"select version_number, track, count(distinct request_id) from reccom where answer_id > '{before[0]}' "
        "group by version_number, track"
    )
    print(
        f"version {number} {ends[0]} in {time.monotonic() - began:.0f} s: {visits.failed:,} of {visits.requests:,} failed "
        f"({visits.kinds}), p99 {visits.p99} ms, rows {found}"
    )
    return Ended(ends[0], visits, {(int(version), track): int(count) for version, track, count in found})


def service_pods() -> dict[str, tuple[str, str]]:
    """Image and track of each pod of the services, by name, also of those that end."""
    items = cluster.found("pods", "--selector", "app.kubernetes.io/component=service")["items"]
    return {
        each["metadata"]["name"]: (each["spec"]["containers"][0]["image"], each["metadata"]["labels"].get("movierec/track", ""))
        for each in items
    }


def tracks() -> set[tuple[int, str]]:
    """Version and track that the pods themselves name in their answers."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:5001/readyz').read().decode())"
    asked = [
        json.loads(cluster.kubectl("exec", pod, "--container", "service", "--", "python", "-c", script))
        for pod in service_pods()
    ]
    return {(each["version"], each["track"]) for each in asked}


def in_service() -> int:
    """The version of every pod, none of which is a canary."""
    (found,) = {*service_pods().values()}
    image, track = found
    assert track == "stable"
    return int(image.rpartition(":")[2])


def next_good() -> int:
    """A version without faults that is not in service."""
    return FIRST + GOOD - in_service()


def back_to(number: int) -> None:
    """Take the image of an aborted version out of the Rollout: nothing starts, and the Rollout is healthy again."""
    pods = service_pods()
    release(number)
    assert wait_for_end() == "promoted"
    assert service_pods() == pods


@pytest.mark.usefixtures("_installed")
class TestReleases:
    """In any order: each begins with a good version in service, and ends so."""

    def test_pods_of_a_version_are_on_both_nodes(self) -> None:
        """A lost node leaves one of them."""
        assert set(cluster.pods("service").values()) == set(cluster.NODES)

    def test_a_good_version_is_promoted(self, tmp_path: Path) -> None:
        """Its pods become stable without a restart, no request fails, and each answer's row has the right version and track."""
        before, version = in_service(), next_good()
        ended = released(version, tmp_path)
        assert (ended.end, ended.visits.failed, in_service()) == ("promoted", 0, version)
        cluster.wait_until(lambda: tracks() == {(version, "stable")}, 30, "the answers do not follow")
        assert set(ended.rows) == {(before, "stable"), (version, "canary"), (version, "stable")}
        # A try that NGINX gave up after 260 ms and repeated at a pod of the other track has a row under both.
        assert 0 <= sum(ended.rows.values()) - ended.visits.requests <= 0.01 * ended.visits.requests
        selectors = [
            each["spec"]["selector"] for each in cluster.found("services", "movierec-stable", "movierec-canary")["items"]
        ]
        assert selectors[0] == selectors[1]

    @pytest.mark.parametrize(
        "fault", [name if name == CRASHES else pytest.param(name, marks=pytest.mark.long) for name in FAULTY]
    )
    def test_a_faulty_version_is_aborted(self, tmp_path: Path, fault: str) -> None:
        """The version before serves everywhere again, and NGINX has repeated what failed."""
        print(fault)
        before, version = in_service(), FAULTY[fault]
        ended = released(version, tmp_path, rate=SLOW_RATE if fault == SLOW else cluster.RATE)
        assert (ended.end, ended.visits.failed, in_service()) == ("aborted", 0, before)
        assert set(ended.rows) <= {(before, "stable"), (version, "canary")}
        back_to(before)

    @pytest.mark.long
    def test_what_happens_during_a_bake_does_not_end_it(self, tmp_path: Path) -> None:
        """Prometheus is away for 20 s, then helm changes NGINX: the image that was set stays. Scaling waits."""
        version = next_good()

        def meanwhile() -> None:
            with cluster.paused(f"{cluster.RELEASE}-prometheus-0", "prometheus"):
                time.sleep(20)
                assert baking()
            with pytest.raises(AssertionError, match=f"movierec-app:{version} bakes: scale from 3 to 5 pods after the bake"):
                cluster.upgrade(*VALUES, "--set", "stable.replicas=4")
            cluster.upgrade(*VALUES, "--set", "nginx.triesLogMb=21")
            assert rollout()["spec"]["template"]["spec"]["containers"][0]["image"] == f"movierec-app:{version}"

        ended = released(version, tmp_path, meanwhile)
        assert (ended.end, ended.visits.failed, in_service()) == ("promoted", 0, version)

    @pytest.mark.long
    def test_a_rollback_of_the_chart_leaves_the_version(self) -> None:
        """Helm takes back its own change only, and NGINX has its former file."""
        pods = service_pods()
        cluster.upgrade(*VALUES, "--set", "nginx.triesLogMb=22")
        nginx = cluster.pods("nginx")
        cluster.run("helm", "--namespace", cluster.NAMESPACE, "rollback", cluster.RELEASE, "--wait", "--timeout", "4m")
        assert wait_for_end() == "promoted"
        assert service_pods() == pods
        assert not {*nginx} & {*cluster.pods("nginx")}

    def test_the_deployers_token_may_set_the_image_and_no_more(self, tmp_path: Path) -> None:
        """By real calls: the image it sets already runs, so nothing starts."""
        token = cluster.kubectl("create", "token", "movierec-deployer", "--duration", "10m").strip()

        def call(*arguments: str, namespace: str = cluster.NAMESPACE) -> tuple[int, str]:
            command = (
                "kubectl",
                "--kubeconfig",
                str(tmp_path / "none"),
                "--server",
                "https://10.213.98.11:6443",
                "--token",
                token,
            )
            authority = ("--certificate-authority", str(cluster.STATE / "pki" / "ca.crt"), "--namespace", namespace)
            done = subprocess.run(
                [*command, *authority, *arguments],
                env=cluster.environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            return done.returncode, done.stdout + done.stderr

        (tmp_path / "none").touch()
        (pod, *_) = service_pods()
        status, output = call("get", "rollout", NAME, "--output", "jsonpath={.status.phase}")
        assert (status, output) == (0, "Healthy")
        status, output = call("patch", "rollout", NAME, "--type", "json", "--patch", image_patch(in_service()))
        assert status == 0, output
        refused = (
            ("get", "secrets"),
            ("get", "secret", "movierec-passwords"),
            ("exec", pod, "--container", "service", "--", "true"),
            ("get", "pods"),
            ("delete", "rollout", NAME),
            (
                "patch",
                "rollout",
                NAME,
                "--subresource",
                "status",
                "--type",
                "merge",
                "--patch",
                '{"status":{"promoteFull":true}}',
            ),
            ("patch", "deployment", "movierec-nginx", "--type", "merge", "--patch", '{"spec":{"replicas":1}}'),
            ("create", "configmap", "mine"),
            ("create", "token", "movierec-prometheus"),
        )
        for arguments in refused:
            status, output = call(*arguments)
            assert (status != 0, "orbidden" in output) == (True, True), f"{arguments}: {output}"
        for namespace in ("default", "kube-system"):
            status, output = call("get", "rollouts", namespace=namespace)
            assert (status != 0, "orbidden" in output) == (True, True), f"{namespace}: {output}"
