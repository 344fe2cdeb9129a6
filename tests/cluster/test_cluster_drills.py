"""The chart on a real cluster of two nodes, under the simulator's load: with two Deployments, and with a Rollout.

Each drill prints its failed requests of all.
"""

from __future__ import annotations

import re
import signal
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.cluster import cluster
from tests.cluster.rollouts import FIRST, VALUES, images_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Tally

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("installed")]

DEPLOYMENTS, ROLLOUT = "deployments", "rollout"
CUT_SECONDS = 60.0
# The shipper's pause, and a second for a busy machine.
SHIP_SECONDS = 2.0


@dataclass(frozen=True)
class Installed:
    """The release: its values, the seconds from nothing to an answer, and the values of each upgrade in turn."""

    of_rollout: bool
    values: tuple[str, ...]
    seconds: float
    upgrades: tuple[tuple[str, ...], ...]


@pytest.fixture(scope="module", params=[DEPLOYMENTS, pytest.param(ROLLOUT, marks=pytest.mark.long)])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The release, in service. A new image in a Rollout is a release and bakes: its upgrades replace NGINX only."""
    of_rollout = request.param == ROLLOUT
    values = VALUES if of_rollout else ()
    images = (cluster.NEXT.partition(":")[2], "stable")
    upgrades = tuple(
        ("--set", f"nginx.triesLogMb={megabytes}", *(() if of_rollout else ("--set", f"image.tag={tag}")))
        for megabytes, tag in zip((21, 20), images, strict=True)
    )
    with images_of([FIRST], tmp_path_factory) if of_rollout else nullcontext(), cluster.installed(*values) as seconds:
        yield Installed(of_rollout, values, seconds, upgrades)


@pytest.fixture(autouse=True)
def _whole() -> None:
    """Every drill begins with all pods."""
    cluster.rolled_out()


def wait_for_rows(number: int) -> None:
    """Wait until the database has so many answers. A repeated try may add one more."""
    cluster.wait_until(lambda: cluster.rows() >= number, 30, f"fewer than {number} rows")


def drain(node: str) -> None:
    """Move the pods of a node, which takes no new ones from now on."""
    cluster.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "150s", seconds=180)


def spread_services() -> None:
    """See that every node has pods of the services. A drain of a Rollout's node has moved all of them to the other one."""
    if {*cluster.services().values()} != {*cluster.NODES}:
        cluster.kubectl("delete", "pod", next(iter(cluster.services())))
        cluster.rolled_out()
    assert {*cluster.services().values()} == {*cluster.NODES}


def restart_nginx() -> None:
    """Replace its pods, one after the other."""
    cluster.kubectl("rollout", "restart", "deployment/movierec-nginx")
    cluster.rolled_out()


def test_from_nothing_to_an_answer(installed: Installed) -> None:
    """At most a minute, with images and binaries there; on both nodes; with the headers of the HTTP contract."""
    print(f"from helm install to an answer: {installed.seconds:.1f} s")
    assert installed.seconds <= 60
    for node in cluster.NODES:
        cluster.wait_for_answer(node)  # the node knows an NGINX a moment after the cluster does
        answer = cluster.answer(node)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert answer.headers["X-Track"] in {"stable", "canary"}
        assert 1 <= len(answer.text.split(",")) <= 20


def test_pods_of_a_part_are_on_different_nodes(installed: Installed) -> None:
    """A lost node leaves one of them. Those of a Rollout stay where a drain has moved them, until the next release."""
    for part in ("nginx",) if installed.of_rollout else ("nginx", "stable"):
        assert sorted(cluster.pods(part).values()) == sorted(cluster.NODES)


def test_four_of_five_first_tries_go_to_the_stable_pods(tmp_path: Path, tally: Tally) -> None:
    """And each answer gets a row of the database, with its track. Without a canary all go there."""
    before = cluster.rows()
    visits = tally.add(cluster.under_load(tmp_path, lambda: None))
    assert visits.failed == 0
    wait_for_rows(before + visits.requests)
    last = f"select track from reccom order by answer_id desc limit {visits.requests}"
    rows = dict(cluster.sql(f"select track, count(*) from ({last}) latest group by track"))
    share = int(rows.get("canary", 0)) / visits.requests
    assert share == pytest.approx(0.2 if cluster.pods("canary") else 0, abs=0.05)


@pytest.mark.long
def test_an_upgrade_fails_no_request(tmp_path: Path, tally: Tally, installed: Installed) -> None:
    """Each answer has its row, also those of the pods that ended. Pods of services are replaced if their image changes."""
    number = 0
    while tally.short:
        rows, before = cluster.rows(), {*cluster.services(), *cluster.pods("nginx")}
        upgrade = (*installed.values, *installed.upgrades[number % 2])
        visits = tally.add(cluster.under_load(tmp_path, partial(cluster.upgrade, *upgrade)))
        stay = {*cluster.services(), *cluster.pods("nginx")} & before
        assert stay == (set(cluster.services()) if installed.of_rollout else set())
        assert visits.failed == 0
        wait_for_rows(rows + visits.requests)
        number += 1


@pytest.mark.long
def test_a_restart_of_nginx_fails_no_request(tmp_path: Path, tally: Tally) -> None:
    """Pod after pod."""
    while tally.short:
        tally.add(cluster.under_load(tmp_path, restart_nginx))
    assert tally.failed == 0


@pytest.mark.long
def test_a_killed_pod_fails_no_request(tmp_path: Path, tally: Tally) -> None:
    """It has two seconds to end, and no time to leave the DNS. NGINX repeats its requests, see location @again."""

    def kill() -> None:
        for pods in (cluster.pods("stable"), cluster.pods("canary"), cluster.pods("service")):
            for pod in [*pods][:1]:
                cluster.kubectl("delete", "pod", pod, "--grace-period", "0", "--force")
                cluster.rolled_out()

    while tally.short:
        tally.add(cluster.under_load(tmp_path, kill))
    assert tally.failed == 0


def test_a_drain_fails_no_request(tmp_path: Path, tally: Tally) -> None:
    """The node's pods wait or move; the requests go to the other node, as an external balancer would send them."""
    while tally.short:
        spread_services()
        try:
            visits = tally.add(cluster.under_load(tmp_path, lambda: drain("node-2")))
            left = {*cluster.services().values(), *cluster.pods("nginx").values()}
        finally:
            cluster.kubectl("uncordon", "node-2")
        assert left == {"node-1"}
        assert visits.failed == 0
        cluster.rolled_out()


@pytest.mark.long
def test_a_drain_of_mysqls_node_loses_no_answer(tmp_path: Path, tally: Tally) -> None:
    """MySQL ends after the services of its node, which deliver their last answers. The other pods keep theirs meanwhile."""
    assert [*cluster.pods("mysql").values()] == ["node-1"]
    while tally.short:
        spread_services()
        rows = cluster.rows()
        try:
            visits = tally.add(cluster.under_load(tmp_path, lambda: drain("node-1"), "node-2"))
        finally:
            cluster.kubectl("uncordon", "node-1")
        cluster.rolled_out()
        assert visits.failed == 0
        wait_for_rows(rows + visits.requests)


@pytest.mark.long
def test_an_api_server_that_stops_fails_no_request(tmp_path: Path, tally: Tally) -> None:
    """For 15 s: pods, their network and their names do without it."""

    def stop() -> None:
        cluster.signal_program("kube-apiserver", signal.SIGSTOP)
        try:
            time.sleep(15)
        finally:
            cluster.signal_program("kube-apiserver", signal.SIGCONT)

    while tally.short:
        tally.add(cluster.under_load(tmp_path, stop))
    assert tally.failed == 0


@pytest.mark.long
@pytest.mark.parametrize("node", cluster.NODES)
def test_a_killed_nginx_fails_requests_to_its_own_node_only(tmp_path: Path, tally: Tally, node: str) -> None:
    """There: those that are under way in it, and those that the node gets before NGINX is ready again.

    Each time in a new pod: the kubelet waits longer before each start of a container that was killed a moment ago.
    """
    while tally.short:
        restart_nginx()
        (pod,) = [pod for pod, of in cluster.pods("nginx").items() if of == "node-2"]

        def kill(pod: str = pod) -> None:
            cluster.kill_container(pod, "nginx")
            time.sleep(2)
            cluster.rolled_out()

        visits = tally.add(cluster.under_load(tmp_path, kill, node))
        assert visits.failed <= (visits.requests / 5 if node == "node-2" else 0)
        assert pod in cluster.pods("nginx"), "it starts again in its pod"


@pytest.mark.long
def test_a_node_that_is_cut_off_fails_few_requests_to_the_other(tmp_path: Path, tally: Tally) -> None:
    """Its pods stay in the DNS until the cluster knows. NGINX repeats what it sent there. Every answer has its row in the end.

    Until then its journals wait on its disk. A lost disk takes what its shippers had not sent, at most that of their pause.
    """
    while tally.short:
        spread_services()
        rows, answered, behind = cluster.rows(), "", 0

        def cut() -> None:
            nonlocal answered, behind
            with cluster.cut_off("node-2"):
                answered = f"select count(*) from reccom where served_at <= '{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}'"
                time.sleep(CUT_SECONDS)
                behind -= int(cluster.sql(answered)[0][0])
            cluster.wait_until(lambda: cluster.is_ready("node-2"), 60, "the node is not back")
            cluster.rolled_out()

        visits = tally.add(cluster.under_load(tmp_path, cut))
        assert visits.failed <= visits.requests / 500
        wait_for_rows(rows + visits.requests - visits.failed)
        behind += int(cluster.sql(answered)[0][0])
        print(f"answers of before the cut whose rows waited on the node: {behind}")
        assert behind <= cluster.RATE * SHIP_SECONDS


def test_pods_have_no_rights_in_the_cluster() -> None:
    """Neither their account nor, as there is no token, their processes."""
    account = f"system:serviceaccount:{cluster.NAMESPACE}:{cluster.RELEASE}"
    for right in ("get secrets", "list pods", "create pods/exec", "get nodes", "patch deployments"):
        asked = f"kubectl --namespace {cluster.NAMESPACE} auth can-i --as {account} {right} || true"
        assert cluster.run("bash", "-c", asked).strip() == "no", right
    (pod, *_) = cluster.services()
    listed = cluster.kubectl(
        "exec", pod, "--container", "service", "--", "sh", "-c", "ls /var/run/secrets /run/secrets 2>&1 || true"
    )
    assert re.fullmatch(r"(ls: cannot access .*\n?)+", listed), "the service has neither a token nor a password"
