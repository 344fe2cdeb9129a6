from __future__ import annotations

import re
from pathlib import Path

import pytest

from auto_deployment.release.analysis.queries import text_of
from tests.integration.monitoring.tools import ROOT, tool

RULES = ROOT / "monitoring" / "prometheus" / "rules"
TESTS = Path(__file__).parent / "rules"
ALERTS = re.findall(r"- alert: (\w+)\n", (RULES / "alerts.yml").read_text())
RECORDED = re.findall(r"- record: (\S+)\n", (RULES / "release.yml").read_text())


@pytest.mark.slow
def test_prometheus_takes_its_configuration() -> None:
    """And all rules that it names."""
    assert "SUCCESS: 2 rule files found" in tool(
        "prometheus", "promtool", "check", "config", "monitoring/prometheus/prometheus.yml"
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(TESTS.glob("*.yml")), ids=lambda path: str(path.stem))
def test_rules_say_what_they_should(path: Path) -> None:
    """Under series of known values, by promtool."""
    assert "SUCCESS" in tool("prometheus", "promtool", "test", "rules", str(path.relative_to(ROOT)))


def test_the_question_that_promtool_tries_is_the_one_that_a_verdict_asks() -> None:
    """Of memory, where two stacks run on a machine."""
    assert f"- expr: >-\n          {text_of('memory')}\n" in (TESTS / "canary_queries_test.yml").read_text()


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_seen_to_fire_and_not_to_fire(alert: str) -> None:
    """In the tests that promtool runs."""
    text = "".join(path.read_text() for path in TESTS.glob("*alerts_test.yml"))
    silent, fires = rf"alertname: {alert}, exp_alerts: \[\]", rf"alertname: {alert}\n +exp_alerts:\n +- exp_labels:"
    assert re.search(silent, text), f"{alert} has no case in alerts_test.yml in which it does not fire"
    assert re.search(fires, text), f"{alert} has no case in alerts_test.yml in which it fires"


@pytest.mark.parametrize("figure", RECORDED)
def test_every_recorded_figure_is_computed_once(figure: str) -> None:
    """In the tests that promtool runs."""
    assert figure in (TESTS / "release_test.yml").read_text()


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_tells_a_person_what_to_do(alert: str) -> None:
    """Severity, what, where and what to do, the subject short; and docs/operations.md explains it."""
    page = (RULES / "alerts.yml").read_text()
    text = page[page.index(f"- alert: {alert}\n") :].partition("\n\n")[0]
    assert re.search(r"labels: \{severity: (critical|warning)\}", text)
    for name in ("summary", "description", "action"):
        assert re.search(rf'^          {name}: ".+"$', text, re.MULTILINE), name
    summary = re.search(r'summary: "(.+)"', text)
    assert summary is not None
    assert len(re.sub(r"\{\{.*?\}\}", "stable-1", summary[1])) <= 60
