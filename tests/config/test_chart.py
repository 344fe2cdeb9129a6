"""The Helm chart agrees with docker-compose.yml, and carries the project's files as they are."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]  # has no types

from app import __version__

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def chart(root: Path) -> Path:
    """The chart in the repository."""
    return root / "kubernetes" / "movierec"


@pytest.fixture(scope="module")
def values(chart: Path) -> dict[str, Any]:
    """Its default values."""
    found: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return found


def test_the_chart_has_the_softwares_version(chart: Path) -> None:
    """As the changelog and the image."""
    metadata = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert (metadata["version"], metadata["appVersion"]) == (__version__, __version__)


def test_images_are_those_of_compose(root: Path, values: dict[str, Any]) -> None:
    """One version of each in the whole project."""
    services = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    assert values["images"] == {name: services[name]["image"] for name in values["images"]}


def test_resources_do_not_exceed_those_of_compose(root: Path, values: dict[str, Any]) -> None:
    """A process that fits its limit there fits it here."""
    services = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    parts = {
        name: name for name in ("shipper", "nginx", "mtail", "mysql", "prometheus", "alertmanager", "console", "fresh")
    } | {"service": "stable-1"}
    units = {"m": "Mi", "g": "Gi"}
    for part, service in parts.items():
        limit = services[service]["mem_limit"]
        assert values[part]["resources"]["limits"]["memory"] == limit[:-1] + units[limit[-1]], part


def leaves(values: dict[str, Any], of: str = "") -> set[str]:
    """The names of all values, without those in `resources`, whose form is Kubernetes'."""
    found = set()
    for name, value in values.items():
        path = f"{of}.{name}" if of else name
        found |= leaves(value, path) if isinstance(value, dict) and value and name != "resources" else {path}
    return found


def test_the_schema_has_every_value_and_no_other(chart: Path, values: dict[str, Any]) -> None:
    """So that a value with a typing error is refused."""
    schema = json.loads((chart / "values.schema.json").read_text())

    def named(node: dict[str, Any], of: str = "") -> set[str]:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        inner = {} if of.endswith(".resources") else node.get("properties", {})
        if not inner:
            return {of}
        assert node["additionalProperties"] is False, of
        return {each for name, child in inner.items() for each in named(child, f"{of}.{name}" if of else name)}

    assert named(schema) - {"global"} == leaves(values)


def test_every_value_has_a_place_in_the_schema_and_a_comment(chart: Path) -> None:
    """A value whose name says little has a comment of its own; all blocks have one, or lines that do."""
    text = (chart / "values.yaml").read_text()
    for name in (
        "pullPolicy",
        "pullSecrets",
        "spread",
        "tag",
        "track",
        "workers",
        "requestLog",
        "journalMaxMb",
        "drainSeconds",
    ):
        assert re.search(rf"^ +#.*\n +{name}:", text, re.MULTILINE), name


def test_a_packaged_chart_has_the_projects_files(root: Path, tmp_path: Path) -> None:
    """Those of NGINX, mtail and Prometheus, byte for byte; a second packaging replaces the first."""
    for _ in range(2):
        done = subprocess.run(
            [str(root / "scripts" / "lib" / "chart.sh"), str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stdout == f"{tmp_path}/movierec\n"
    assert [each.name for each in tmp_path.iterdir()] == ["movierec"]
    packaged = tmp_path / "movierec" / "files"
    for folder in ("nginx", "monitoring/mtail", "monitoring/prometheus"):
        ours = {path.relative_to(root / folder): path.read_bytes() for path in (root / folder).rglob("*") if path.is_file()}
        theirs = {
            path.relative_to(packaged / folder): path.read_bytes() for path in (packaged / folder).rglob("*") if path.is_file()
        }
        assert theirs == ours, folder


def test_the_templates_replace_lines_that_are_there(root: Path) -> None:
    """The chart changes names, weights and the resolver of NGINX, addresses of mtail, and the targets of Prometheus' jobs."""
    upstream = (root / "nginx" / "stack" / "upstream.conf").read_text()
    assert len(re.findall(r"^ *server (stable-[12]|canary):5000 resolve ", upstream, re.MULTILINE)) == 5
    assert re.findall(r"weight=(\d+) ", upstream) == ["2", "2", "1"]
    assert len(re.findall(r"resolver [^ ]+ valid=", (root / "nginx" / "stack" / "http.conf").read_text())) == 1
    tries = (root / "monitoring" / "mtail" / "tries.mtail").read_text()
    assert [tries.count(rf"\.1{number}:\d+/") for number in (1, 2, 3)] == [1, 1, 1]
    rules = (root / "monitoring" / "prometheus" / "rules" / "alerts.yml").read_text()
    assert rules.count("unless on (service) container_memory_rss") == 1
    assert rules.count("- alert: PipelineSilent\n") == 1
    jobs = yaml.safe_load((root / "monitoring" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert {"service", "mtail", "shipper", "prometheus"} <= {job["job_name"] for job in jobs}
