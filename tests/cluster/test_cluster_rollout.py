"""Releases by Argo Rollouts and our verdict on a real cluster, under load. Each drill prints its failed requests of all."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster import cluster
from tests.cluster.rollouts import (
    CRASHES,
    FAULTY,
    NAME,
    REPOSITORY,
    SLOW,
    VALUES,
    VERSIONS,
    back_to,
    baking,
    image_patch,
    images_of,
    in_service,
    next_good,
    released,
    service_pods,
    wait_for_end,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Tally

pytestmark = pytest.mark.cluster

RETRY_SECONDS = 120.0
# A fifth of the first tries waits for 260 ms before NGINX repeats it. At more visits, a busy machine is late for those.
SLOW_RATE = 40.0


@pytest.fixture(scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The first version in service, as a Rollout, and the images of the others on the nodes."""
    with images_of(VERSIONS, tmp_path_factory), cluster.installed(*VALUES):
        cluster.rolled_out()
        yield


def tracks() -> set[tuple[int, str]]:
    """Version and track that the pods themselves name in their answers."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:5001/readyz').read().decode())"
    asked = [
        json.loads(cluster.kubectl("exec", pod, "--container", "service", "--", "python", "-c", script))
        for pod in service_pods()
    ]
    return {(each["version"], each["track"]) for each in asked}


def wait_until_stable(version: int) -> None:
    """Wait until every pod answers as a stable one of this version."""
    cluster.wait_until(lambda: tracks() == {(version, "stable")}, 30, "the answers do not follow")


@pytest.mark.usefixtures("_installed")
class TestReleases:
    """In any order: each begins with a good version in service, and ends so."""

    def test_pods_of_a_version_are_on_both_nodes(self) -> None:
        """A lost node leaves one of them."""
        assert set(cluster.pods("service").values()) == set(cluster.NODES)

    def test_a_good_version_is_promoted(self, tmp_path: Path, tally: Tally) -> None:
        """Its pods become stable without a restart, no request fails, and each answer's row has the right version and track."""
        while tally.short:
            before, version = in_service(), next_good()
            ended = released(version, tmp_path)
            tally.add(ended.visits)
            assert (ended.end, ended.visits.failed, in_service()) == ("promoted", 0, version)
            wait_until_stable(version)
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
    def test_a_faulty_version_is_aborted(self, tmp_path: Path, tally: Tally, fault: str) -> None:
        """The version before serves everywhere again, and NGINX has repeated what failed."""
        while tally.short:
            before, version = in_service(), FAULTY[fault]
            ended = released(version, tmp_path, rate=SLOW_RATE if fault == SLOW else cluster.RATE)
            tally.add(ended.visits)
            assert (ended.end, ended.visits.failed, in_service()) == ("aborted", 0, before)
            assert set(ended.rows) <= {(before, "stable"), (version, "canary")}
            back_to(before)
            if tally.short:  # a try that comes sooner continues the bake before it
                time.sleep(RETRY_SECONDS)

    @pytest.mark.long
    def test_what_happens_during_a_bake_does_not_end_it(self, tmp_path: Path) -> None:
        """Prometheus is away for 20 s, then helm changes NGINX: the image that was set stays. Scaling waits.

        Parts with one pod have the version in service.
        """
        before, version = in_service(), next_good()

        def meanwhile() -> None:
            with cluster.paused(f"{cluster.RELEASE}-prometheus-0", "prometheus"):
                time.sleep(20)
                assert baking()
            with pytest.raises(AssertionError, match=f"{REPOSITORY}:{version} bakes: scale from 3 to 5 pods after the bake"):
                cluster.upgrade(*VALUES, "--set", "stable.replicas=4")
            cluster.upgrade(*VALUES, "--set", "nginx.triesLogMb=21")
            for kind, name, number in (("rollout", NAME, version), ("deployment", "movierec-console", before)):
                (container,) = cluster.found(kind, name)["spec"]["template"]["spec"]["containers"]
                assert container["image"] == f"{REPOSITORY}:{number}"

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
            return cluster.call_with(token, tmp_path, *arguments, namespace=namespace)

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
