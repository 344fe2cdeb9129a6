from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.stack.init import CONFIGURATION, REPORTS

if TYPE_CHECKING:
    from pathlib import Path

ONCE = {"init", "migrate"}
# Its image holds the program alone, nothing that could ask it.
UNASKED = {"mtail"}


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Any]:
    """The services of the stack."""
    document = yaml.safe_load((root / "docker-compose.yml").read_text())
    found: dict[str, Any] = document["services"]
    return found


def test_every_service_that_goes_on_running_has_a_health_check(services: dict[str, Any]) -> None:
    """So that `up --wait` waits for it; what has none is known by name."""
    assert {name for name, service in services.items() if service["restart"] == "no"} == ONCE
    assert {name for name, service in services.items() if "healthcheck" not in service} == ONCE | UNASKED
    assert all(service["healthcheck"]["test"] for name, service in services.items() if name not in ONCE | UNASKED)


def test_no_health_check_asks_a_proxy(services: dict[str, Any]) -> None:
    """Docker gives each container the proxies of its client's configuration."""
    checks = [" ".join(service.get("healthcheck", {}).get("test", ())) for service in services.values()]
    assert {"curl", "wget"} <= {word for check in checks for word in check.split()}
    assert [check for check in checks if "curl " in check and "--noproxy '*'" not in check] == []
    assert [check for check in checks if "wget " in check and "-Y off" not in check] == []


def test_every_folder_of_the_project_that_a_container_reads_is_made_readable(services: dict[str, Any]) -> None:
    """By `init`: it makes the folders with a dot and the logs itself, and opens those that git keeps."""
    volumes = [volume for name, service in services.items() if name != "init" for volume in service.get("volumes", ())]
    sources = [volume["source"] if isinstance(volume, dict) else volume.partition(":")[0] for volume in volumes]
    folders = {source.split("/")[1] for source in sources if source.startswith("./")}
    assert folders == {*CONFIGURATION, REPORTS.parts[0], ".stack", ".secrets", "${LOG_DIR"}


def test_a_folder_of_another_checkout_is_never_made_by_docker(services: dict[str, Any]) -> None:
    """Root would own it, and the retraining could not write its metrics there: `up` names the missing folder instead."""
    (mount,) = [volume for volume in services["node-exporter"]["volumes"] if isinstance(volume, dict)]
    assert mount["source"] == "${PIPELINE_METRICS_DIR:-./monitoring}"
    assert (mount["read_only"], mount["bind"]) == (True, {"create_host_path": False})
    command = services["node-exporter"]["command"]
    folders = [each.partition("=")[2] for each in command if each.startswith("--collector.textfile.directory=")]
    assert folders == [mount["target"], "/metrics"], "of a metric that both have, node-exporter takes the first"


def test_what_an_image_takes_from_a_clone_has_a_mode_of_its_own(root: Path) -> None:
    """A COPY keeps the file's mode, and a clone under umask 077 has files that no other user can read."""
    copies = [
        f"{path.relative_to(root)}: {line}"
        for path in (*root.glob("app/Dockerfile"), *root.glob("scripts/**/Dockerfile"), *root.glob("tests/**/*Dockerfile"))
        for line in path.read_text().splitlines()
        if line.startswith("COPY ") and "--chmod=" not in line
    ]
    # What the build makes itself, and a lock that only root reads.
    made = [each for each in copies if "--from=dependencies " in each or "--from=model " in each or "requirements.txt" in each]
    assert copies == made


def test_what_has_no_health_check_is_asked_by_prometheus(root: Path) -> None:
    """Which tells people when it does not answer."""
    document = yaml.safe_load((root / "monitoring" / "prometheus" / "prometheus.yml").read_text())
    assert {job["job_name"] for job in document["scrape_configs"]} >= UNASKED
    assert 'up{job!="service"} == 0' in (root / "monitoring" / "prometheus" / "rules" / "alerts.yml").read_text()


def test_as_many_old_logs_of_tries_are_kept_as_the_readme_says(root: Path, tmp_path: Path) -> None:
    """NGINX's start script rolls a log that is large enough, and the oldest goes; of errors the last one is kept."""
    logs, tools = tmp_path / "logs", tmp_path / "tools"
    for folder in (logs, tools, tmp_path / "checkout", tmp_path / "nginx"):
        folder.mkdir()
    for day in range(10, 32):
        (logs / f"tries-202601{day}T000000Z.log").touch()
    (logs / "tries.log").write_bytes(bytes(1 << 20))
    for day in (10, 11):
        (logs / f"errors-202601{day}T000000Z.log").touch()
    (logs / "errors.log").write_bytes(bytes(10 << 20))
    script = (root / "nginx" / "stack" / "start.sh").read_text()
    with subprocess.Popen(["sleep", "60"]) as nginx:
        (tmp_path / "nginx.pid").write_text(str(nginx.pid))
        (tools / "sleep").write_text(f"#!/bin/sh\nmkdir {tmp_path}/slept 2>/dev/null\n")  # once
        (tools / "sleep").chmod(0o755)
        roll = script.replace("/var/log/nginx", str(logs)).replace("/tmp/nginx.pid", str(tmp_path / "nginx.pid"))
        roll = roll.replace("/etc/movierec", str(tmp_path)).replace("done &", "done").replace("exec nginx", ": nginx")
        subprocess.run(["sh", "-c", roll], env={"PATH": f"{tools}:/usr/bin:/bin", "TRIES_LOG_MB": "1"}, check=True, timeout=20)
    assert len(list(logs.glob("tries-*.log"))) == 20
    assert [path.name for path in logs.glob("errors*")] == [max(path.name for path in logs.glob("errors-*"))]
    assert "20 old ones are kept" in (root / "docs" / "configuration.md").read_text()


def test_the_stand_in_of_cadvisor_is_of_the_version_that_the_stack_names(root: Path, services: dict[str, Any]) -> None:
    """It is upstream's collector in a main of our own: both of its modules have the release of the image's tag."""
    repository, _, tag = services["cadvisor"]["image"].rpartition(":")
    assert repository == "ghcr.io/google/cadvisor"
    modules = (root / "scripts" / "lib" / "images" / "stand_ins" / "cadvisor" / "go.mod").read_text()
    for module in ("github.com/google/cadvisor", "github.com/google/cadvisor/lib"):
        assert f"\t{module} {tag}\n" in modules


def test_the_stand_in_of_cadvisor_knows_every_flag_of_the_stack(root: Path, services: dict[str, Any]) -> None:
    """Those that upstream's own main has are in ours; the others come with the collector."""
    flags = {argument.removeprefix("--").partition("=")[0] for argument in services["cadvisor"]["command"]}
    collector = {"docker_only", "containerd", "housekeeping_interval", "allow_dynamic_housekeeping"}
    ours = (root / "scripts" / "lib" / "images" / "stand_ins" / "cadvisor" / "main.go").read_text()
    assert {flag for flag in flags - collector if f'"{flag}"' not in ours} == set()
