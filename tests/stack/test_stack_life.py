"""The stack's beginning and end: what a build refuses, what an answer's trace says, an engine that hangs or restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from mysql.connector import Error as MySQLError

from auto_deployment.release import docker_commands
from tests.integration.load import Load
from tests.stack.stack import ROOT, SERVICES, copy_of_project, wait_until

if TYPE_CHECKING:
    from tests.stack.stack import ComposeStack

pytestmark = pytest.mark.stack

STARTED = Path("/var/lib/movierec-engine/started")
REQUESTS = 6000  # an output that nobody reads holds some 300 lines


def test_an_image_of_a_version_whose_files_are_not_there_is_not_built(stack: ComposeStack, tmp_path: Path) -> None:
    """Git names version 5, the model is not there: the build stops and says what to do."""
    folder = copy_of_project(tmp_path)
    (folder / "data" / "version.txt").write_text("5\n")
    built = stack.docker("build", "-f", str(folder / "app" / "Dockerfile"), str(folder), check=False, timeout=180)
    assert built.returncode != 0
    assert "git names version 5: run `dvc pull` and build again" in built.stderr


def test_up_again_changes_nothing(stack: ComposeStack) -> None:
    """The containers that are healthy are left alone."""
    before = {service: stack.container(service) for service in (*SERVICES, "nginx", "mysql")}
    stack.up()
    assert {service: stack.container(service) for service in before} == before


def test_an_answer_is_computed_again_and_explained(stack: ComposeStack) -> None:
    """`scripts/provenance` finds it by the client's own id, computes it again in its image, and tells the chain."""
    _, headers, body = stack.ask("/recommend/447528", headers={"X-Request-ID": "to-explain"})
    answer = headers["X-Answer-ID"]
    wait_until(lambda: stack.rows("select 1 from reccom where answer_id = %s", answer) != [], 30, "its row")
    listed = provenance(stack, "request", "to-explain")
    assert answer in listed.stdout
    replayed = provenance(stack, "replay", answer)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    chain = json.loads(provenance(stack, "why", answer, "--json").stdout)
    assert answer in json.dumps(chain)
    assert body.split(",")[0] in json.dumps(chain)


def test_nginx_takes_changed_files_on_request_only_and_refuses_invalid_ones(stack: ComposeStack) -> None:
    """An upgrade of the checkout during a release must not come into force with the release's next reload."""
    server = stack.folder / "nginx" / "server.conf"
    before, kept = server.read_text(), str(PurePosixPath(docker_commands.CONFIGURATION).with_name("server.conf"))
    reload = ("exec", "-T", "nginx", "/etc/movierec/checkout/stack/start.sh", "reload")
    try:
        server.write_text(before.replace('"not found"', '"nowhere"'))
        stack.compose(*docker_commands.reload_nginx(()))
        assert stack.compose("exec", "-T", "nginx", "cat", kept).stdout == before
        assert stack.ask("/nowhere")[2] == "not found"
        stack.compose(*reload)
        wait_until(lambda: stack.ask("/nowhere")[2] == "nowhere", 5, "the changed text is served")
        server.write_text("server {")
        refused = stack.compose(*reload, check=False)
        assert refused.returncode != 0
        assert "unexpected end of file" in refused.stderr
        assert stack.ask("/nowhere")[2] == "nowhere"
    finally:
        server.write_text(before)
        stack.compose(*reload)


def provenance(stack: ComposeStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`scripts/provenance` in the stack's own copy of the project."""
    return stack.run(str(ROOT / ".venv" / "bin" / "python"), "-m", "auto_deployment.provenance", *arguments)


def test_what_runs_comes_back_when_the_engine_restarts(stack: ComposeStack) -> None:
    """All services answer again by themselves, and no row is lost."""
    if not STARTED.exists():
        pytest.skip("the engine is not one that scripts/dev engine started: nobody may restart it for a test")
    before = Counter(row[0] for row in stack.rows("select answer_id from reccom"))
    for command in (["--stop"], []):
        subprocess.run([str(ROOT / "scripts" / "dev"), "engine", *command], check=True, capture_output=True, timeout=180)
    for service in SERVICES:
        stack.wait_ready(service, 120)
    wait_until(lambda: answers(stack), 60, "NGINX answers")
    wait_until(lambda: stack.query_prometheus("count(up == 1)") != [], 120, "Prometheus measures")
    wait_until(lambda: has_database(stack), 120, "MySQL answers")
    assert before - Counter(row[0] for row in stack.rows("select answer_id from reccom")) == Counter()


def test_no_request_fails_while_the_engine_hangs(stack: ComposeStack) -> None:
    """Nobody reads the containers' output then, while every try at the canary, which is stopped, is an error to tell."""
    if not STARTED.exists():
        pytest.skip("the engine is not one that scripts/dev engine started: nobody may stop it for a test")
    engine, load = int(STARTED.read_text().split()[0]), Load(stack.port, REQUESTS, pause=0.02)
    stack.compose("stop", "canary")
    os.kill(engine, signal.SIGSTOP)
    try:
        load.start()
        load.finish()
    finally:
        os.kill(engine, signal.SIGCONT)
        stack.compose("start", "canary")
    assert load.failures == []
    assert load.statuses == Counter({200: REQUESTS})
    stack.wait_ready("canary")
    wait_until(
        lambda: stack.query_prometheus("sum(request_log_lines_lost_total) > 0") != [], 60, "lines that were lost are counted"
    )


def has_database(stack: ComposeStack) -> bool:
    """Whether MySQL answers a query."""
    try:
        return stack.rows("select 1") == [(1,)]
    except MySQLError:
        return False


def answers(stack: ComposeStack) -> bool:
    """Whether a recommendation is answered."""
    try:
        return stack.ask("/recommend/1")[0] == 200
    except OSError:
        return False
