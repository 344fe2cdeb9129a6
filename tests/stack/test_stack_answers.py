"""The running stack: its answers, who may reach them, and the queries that are possible afterwards."""

from __future__ import annotations

import json
import re
import stat
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.load import Load
from tests.stack.stack import SERVICES, wait_until

if TYPE_CHECKING:
    from tests.stack.stack import ComposeStack

pytestmark = pytest.mark.stack

REQUESTS = 10_000
SEEDS_JOIN = (
    "select A.version_number, A.user_id, B.data_creation, B.trained_on, B.model_rmse "
    "from reccom A, tracking B where A.version_number = B.version_number"
)
SEEDS_MEAN = (
    'sum(flask_http_request_duration_seconds_sum{path=~"/recommend/.*"}) / '
    'sum(flask_http_request_duration_seconds_count{path=~"/recommend/.*"})'
)


def test_all_services_are_healthy(stack: ComposeStack) -> None:
    """After `up --wait` each container is healthy, or runs where it has no check; those that were to end did, with 0."""
    lines = stack.compose("ps", "-a", "--format", "{{.Service}} {{.State}} {{.ExitCode}} {{.Health}}").stdout.splitlines()
    report = {line.split()[0]: line.split()[1:] for line in lines}
    assert {name for name, state in report.items() if state[:2] == ["exited", "0"]} == {"init", "migrate"}
    assert {name: state for name, state in report.items() if state[0] == "running" and state[-1] not in ("healthy", "0")} == {}
    assert len(report) == 14


def test_the_stack_comes_up_from_a_clone_made_under_umask_077(stack: ComposeStack) -> None:
    """Its containers read the configuration; what they need not read stays as private as it was."""
    wanted = {"app": 0o700, "data": 0o700, "nginx": 0o755, "monitoring": 0o755, ".secrets": 0o700}
    assert {name: stat.S_IMODE((stack.folder / name).stat().st_mode) for name in wanted} == wanted
    assert stack.ask("/recommend/447528")[0] == 200


def test_an_answer_keeps_the_contract(stack: ComposeStack) -> None:
    """Up to 20 films, the four headers, the client's own request id."""
    status, headers, body = stack.ask("/recommend/447528", headers={"X-Request-ID": "mine-1"})
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert 1 <= len(set(body.split(","))) == len(body.split(",")) <= 20
    assert headers["X-Request-ID"] == "mine-1"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["X-Answer-ID"])
    assert headers["X-Model-Version"] == "0"
    assert headers["X-Track"] in ("stable", "canary")


@pytest.mark.parametrize(
    ("path", "status"), [("/metrics", 404), ("/", 404), ("/recommend/x", 400), ("/healthz", 200), ("/readyz", 200)]
)
def test_only_what_is_named_is_there(stack: ComposeStack, path: str, status: int) -> None:
    """Of the services NGINX lets out the answers and the health routes."""
    assert stack.ask(path)[0] == status


def test_traffic_is_shared_40_40_20_and_every_answer_has_one_row(stack: ComposeStack) -> None:
    """10,000 requests: the shares hold within 1.5 points; each 200 of the log of tries has exactly one row."""
    before = len(stack.tries())
    load = Load(stack.port, REQUESTS)
    load.start()
    load.finish()
    assert load.failures == []
    first = Counter(each["upstream_addr"].split(",")[0] for each in stack.tries()[before:] if "/recommend/" in each["uri"])
    total = sum(first.values())
    shares = {name: 100 * first[f"{stack.address(name)}:5000"] / total for name in SERVICES}
    assert shares == pytest.approx({"stable-1": 40, "stable-2": 40, "canary": 20}, abs=1.5)
    answered = [each["answer_id"] for each in stack.tries() if each["status"] == 200 and each["answer_id"]]
    wait_until(lambda: len(stack.rows("select answer_id from reccom")) >= len(answered), 30, "all rows are in the database")
    rows = Counter(row[0] for row in stack.rows("select answer_id from reccom"))
    assert max(rows.values()) == 1
    assert set(answered) <= set(rows)


def test_the_seeds_queries_run_as_they_stand(stack: ComposeStack) -> None:
    """The join tells who was served by which version, trained when; the mean time is a time."""
    assert stack.ask("/recommend/77")[0] == 200
    wait_until(lambda: any(row[1] == 77 for row in stack.rows(SEEDS_JOIN)), 30, "the row of user 77")
    version, _, data_creation, trained_on, rmse = next(row for row in stack.rows(SEEDS_JOIN) if row[1] == 77)
    assert version == 0
    assert data_creation.year >= 2026
    assert trained_on >= data_creation
    assert 0 < rmse < 1
    wait_until(lambda: stack.query_prometheus(SEEDS_MEAN) != [], 60, "a mean time")
    assert 0 < float(stack.query_prometheus(SEEDS_MEAN)[0]["value"][1]) < 0.1


def test_containers_can_be_asked_for_by_their_service(stack: ComposeStack) -> None:
    """What cAdvisor tells of memory and processor time carries the Compose service's name, whatever the engine's image store.

    Where no registry can be reached this is the stand-in of scripts/lib/images: upstream's collector of the same version and
    with the same flags, in a main of our own, on Debian instead of Alpine. The official program also has web pages and
    storages.
    """
    for name in ("container_memory_rss", "container_memory_working_set_bytes", "container_cpu_usage_seconds_total"):
        query = f'{name}{{container_label_com_docker_compose_service=~"stable-1|stable-2|canary|nginx"}}'
        wait_until(lambda query=query: len(stack.query_prometheus(query)) >= 4, 60, query)  # type: ignore[misc]


def test_metrics_of_a_retraining_in_a_checkout_of_its_own_reach_prometheus(stack: ComposeStack) -> None:
    """Through the folder that `PIPELINE_METRICS_DIR` names, and without an error about the folder of this checkout."""
    query = 'pipeline_last_run_status{kind="collect"}'
    wait_until(lambda: [each["value"][1] for each in stack.query_prometheus(query)] == ["1"], 60, query)
    assert [each["value"][1] for each in stack.query_prometheus("node_textfile_scrape_error")] == ["0"]


def test_the_engine_that_the_project_starts_has_containerds_image_store(stack: ComposeStack) -> None:
    """As Docker 29 has by default, unless the machine has settings of its own. Under that store cAdvisor knew none once."""
    report = json.loads(stack.docker("info", "--format", "{{json .}}").stdout)
    ours = Path("/var/lib/movierec-engine/started").exists() and not Path("/etc/docker/daemon.json").exists()
    assert not ours or ["driver-type", "io.containerd.snapshotter.v1"] in report["DriverStatus"]


def test_cadvisor_makes_no_label_that_nobody_asked_for(stack: ComposeStack) -> None:
    """Of a container's labels only the two that tell project and service, and no metrics of disks."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['CADVISOR_PORT']}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    labels = set(re.findall(r"container_label_\w+", text))
    assert labels == {f"container_label_com_docker_compose_{name}" for name in ("project", "service")}
    assert "container_fs_" not in text


def test_all_that_prometheus_asks_answers(stack: ComposeStack) -> None:
    """Every target is up, and the log of tries is counted by service."""
    wait_until(
        lambda: stack.query_prometheus("count(up == 0)") == [] and stack.query_prometheus("count(up)") != [],
        60,
        "all targets are up",
    )
    assert {stack.ask(f"/recommend/{user}")[0] for user in range(30)} == {200}
    wait_until(lambda: len(stack.query_prometheus('nginx_tries_total{outcome="2xx"} > 0')) == 3, 60, "tries of three services")
