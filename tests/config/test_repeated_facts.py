"""Numbers and names in texts agree with the files that set them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from auto_deployment.pipeline import metrics as pipeline_metrics
from auto_deployment.release import metrics as release_metrics

if TYPE_CHECKING:
    from pathlib import Path


def set_in_nginx(root: Path, directive: str) -> str:
    """A time in milliseconds of nginx/proxy.conf."""
    found = re.search(rf"^{directive} (\d+)ms;", (root / "nginx" / "proxy.conf").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("path", "words", "directive"),
    [
        ("monitoring/prometheus/rules/alerts.yml", r"NGINX waits (\d+) ms", "proxy_read_timeout"),
        ("docs/operations.md", r"NGINX gives up at (\d+) ms", "proxy_read_timeout"),
        ("docs/monitoring.md", r"no answer within (\d+) ms", "proxy_read_timeout"),
        ("docs/monitoring.md", r"no connection within (\d+) ms", "proxy_connect_timeout"),
        ("docs/http-api.md", r"wait for an answer of a service \| (\d+) ms", "proxy_read_timeout"),
        ("docs/http-api.md", r"connect to a service \| (\d+) ms", "proxy_connect_timeout"),
        ("docs/http-api.md", r"latest begin of a new try \| (\d+) ms", "proxy_next_upstream_timeout"),
    ],
)
def test_a_time_of_nginx_in_a_text_is_the_configured_one(root: Path, path: str, words: str, directive: str) -> None:
    """A reader of an alert or a page reads the configured time."""
    assert re.findall(words, (root / path).read_text()) == [set_in_nginx(root, directive)]


def test_the_task_runner_names_every_benchmark(root: Path) -> None:
    """In the line of its task."""
    found = re.search(r"^task_bench\(\).*\[([a-z|]+) ", (root / "scripts" / "dev").read_text(), re.MULTILINE)
    assert found is not None
    text = (root / "tests" / "bench" / "__main__.py").read_text()
    benches = re.findall(r'^    "([a-z]+)": [a-z]+\.[a-z]+,$', text, re.MULTILINE)
    assert set(found[1].split("|")) == set(benches)


@pytest.mark.parametrize("series", [*pipeline_metrics.HELP, pipeline_metrics.LAST_CHECK, *release_metrics.HELP])
def test_a_series_of_pipeline_and_release_is_documented(root: Path, series: str) -> None:
    """In docs/monitoring.md, by its whole name."""
    assert re.search(rf"`{series}[`{{]", (root / "docs" / "monitoring.md").read_text())
