"""The chart on a real cluster of two nodes, under the simulator's load. Each drill prints its failed requests of all."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster import cluster

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.rehearse.traffic import Visits

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _whole(seconds_to_answer: float) -> None:  # noqa: ARG001 - the release is there
    """Every drill begins with all pods."""
    cluster.rolled_out()


def show(drill: str, visits: Visits) -> None:
    """For docs/kubernetes.md."""
    print(f"{drill}: {visits.failed:,} of {visits.requests:,} failed ({visits.kinds}), p99 {visits.p99} ms")


def wait_for_rows(number: int) -> None:
    """Wait until the database has so many answers. A repeated try may add one more."""
    cluster.wait_until(lambda: cluster.rows() >= number, 30, f"{cluster.rows()} rows instead of {number}")


def test_from_nothing_to_an_answer(seconds_to_answer: float) -> None:
    """At most a minute, with images and binaries there; on both nodes; with the headers of the HTTP contract."""
    print(f"from helm install to an answer: {seconds_to_answer:.1f} s")
    assert seconds_to_answer <= 60
    for node in cluster.NODES:
        answer = cluster.answer(node)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert answer.headers["X-Track"] in {"stable", "canary"}
        assert 1 <= len(answer.text.split(",")) <= 20


def test_pods_of_a_part_are_on_different_nodes() -> None:
    """A lost node leaves one of them."""
    for part in ("stable", "nginx"):
        assert sorted(cluster.pods(part).values()) == sorted(cluster.NODES)


def test_four_of_five_first_tries_go_to_the_stable_pods(tmp_path: Path) -> None:
    """And each answer gets a row of the database, with its track."""
    before = cluster.rows()
    visits = cluster.under_load(tmp_path, lambda: None)
    show("without a drill", visits)
    assert visits.failed == 0
    wait_for_rows(before + visits.requests)
    last = f"select track from reccom order by answer_id desc limit {visits.requests}"
    rows = dict(cluster.sql(f"select track, count(*) from ({last}) latest group by track"))
    share = int(rows["canary"]) / visits.requests
    assert 0.15 <= share <= 0.25


@pytest.mark.long
def test_an_upgrade_fails_no_request(tmp_path: Path) -> None:
    """Every pod of the services and of NGINX is replaced, and each answer has its row, also those of the pods that ended."""
    rows = cluster.rows()
    before = {*cluster.pods("stable"), *cluster.pods("canary"), *cluster.pods("nginx")}
    image = cluster.NEXT.partition(":")[2]
    visits = cluster.under_load(
        tmp_path, lambda: cluster.upgrade("--set", f"image.tag={image}", "--set", "nginx.triesLogMb=21")
    )
    show("helm upgrade", visits)
    after = {*cluster.pods("stable"), *cluster.pods("canary"), *cluster.pods("nginx")}
    assert before & after == set()
    assert visits.failed == 0
    wait_for_rows(rows + visits.requests)


@pytest.mark.long
def test_a_restart_of_nginx_fails_no_request(tmp_path: Path) -> None:
    """Pod after pod."""

    def restart() -> None:
        cluster.kubectl("rollout", "restart", "deployment/movierec-nginx")
        cluster.rolled_out()

    visits = cluster.under_load(tmp_path, restart)
    show("rolling restart of NGINX", visits)
    assert visits.failed == 0


@pytest.mark.long
@pytest.mark.parametrize("part", ["stable", "canary"])
def test_a_killed_pod_fails_few_requests(tmp_path: Path, part: str) -> None:
    """Its processes are killed at once, without a chance to end. NGINX repeats their requests, see location @again.

    Some may take longer than 600 ms with their repeated try.
    """
    pod, *_ = cluster.pods(part)

    def kill() -> None:
        cluster.kubectl("delete", "pod", pod, "--grace-period", "0", "--force")
        cluster.rolled_out()

    visits = cluster.under_load(tmp_path, kill)
    show(f"killed {part} pod", visits)
    assert "502" not in visits.kinds
    assert visits.failed <= 2


def test_a_drain_fails_no_request(tmp_path: Path) -> None:
    """The node's pods wait or move; the requests go to the other node, as an external balancer would send them."""

    def drain() -> None:
        cluster.kubectl("drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "150s", seconds=180)

    try:
        visits = cluster.under_load(tmp_path, drain)
        left = {node for part in ("stable", "canary", "nginx") for node in cluster.pods(part).values()}
    finally:
        cluster.kubectl("uncordon", "node-2")
    show("drain of a node", visits)
    assert left == {"node-1"}
    assert visits.failed == 0


@pytest.mark.long
def test_a_drain_of_mysqls_node_loses_no_answer(tmp_path: Path) -> None:
    """MySQL ends after the services of its node, which deliver their last answers. The other pods keep theirs meanwhile."""
    rows = cluster.rows()
    (node,) = cluster.pods("mysql").values()
    (other,) = [each for each in cluster.NODES if each != node]

    def drain() -> None:
        cluster.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "150s", seconds=180)

    try:
        visits = cluster.under_load(tmp_path, drain, other)
    finally:
        cluster.kubectl("uncordon", node)
    show("drain of MySQL's node", visits)
    cluster.rolled_out()
    assert visits.failed == 0
    wait_for_rows(rows + visits.requests)


@pytest.mark.long
def test_an_api_server_that_stops_fails_no_request(tmp_path: Path) -> None:
    """For 15 s: pods, their network and their names do without it."""

    def stop() -> None:
        cluster.signal_program("kube-apiserver", signal.SIGSTOP)
        try:
            time.sleep(15)
        finally:
            cluster.signal_program("kube-apiserver", signal.SIGCONT)

    visits = cluster.under_load(tmp_path, stop)
    show("API server stopped for 15 s", visits)
    assert visits.failed == 0


@pytest.mark.long
def test_a_killed_nginx_fails_few_requests(tmp_path: Path) -> None:
    """Those that are under way in it, and those that the node sends to it before it is there again."""
    pod, *_ = cluster.pods("nginx")

    def kill() -> None:
        cluster.kill_container(pod, "nginx")
        cluster.rolled_out()

    visits = cluster.under_load(tmp_path, kill)
    show("NGINX killed by -9", visits)
    assert visits.failed <= visits.requests / 20
    assert pod in cluster.pods("nginx"), "it starts again in its pod"


def test_pods_have_no_rights_in_the_cluster() -> None:
    """Neither their account nor, as there is no token, their processes."""
    account = "system:serviceaccount:movierec:movierec"
    for right in ("get secrets", "list pods", "create pods/exec", "get nodes", "patch deployments"):
        asked = f"kubectl --namespace movierec auth can-i --as {account} {right} || true"
        assert cluster.run("bash", "-c", asked).strip() == "no", right
    (pod, *_) = cluster.pods("stable")
    listed = cluster.kubectl(
        "exec", pod, "--container", "service", "--", "sh", "-c", "ls /var/run/secrets /run/secrets 2>&1 || true"
    )
    assert re.fullmatch(r"(ls: cannot access .*\n?)+", listed), "the service has neither a token nor a password"
