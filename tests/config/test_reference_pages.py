"""The reference pages of docs/, held to the code that they describe."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml  # type: ignore[import-untyped]  # has no types

from app.model import EXPLORE, NEEDED
from app.provenance.schema import GRANTS, UPKEEP
from app.provenance.tables import reccom, tracking
from auto_deployment.common.errors import RefusedError, RunError, WrongUseError
from auto_deployment.common.settings import Settings
from auto_deployment.evaluation import gate
from auto_deployment.scheduler.plan import BUSY, NOT_RUN

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
ALERTS: dict[str, Any] = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "monitoring" / "prometheus" / "rules" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
FOLDERS = "app|auto_deployment|monitoring|nginx|scripts|tests"


def text_of(page: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / page).read_text()


def section(page: str, title: str) -> str:
    """A section of a page, without its title."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", text_of(page), re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/{page} has no section {title}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables' rows in a text, without the lines under their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names_in_first_cells(text: str) -> set[str]:
    """The code spans in the first cells of the tables."""
    return {name for cells in rows(text) for name in re.findall(r"`([^`]+)`", cells[0])}


def test_every_alert_is_explained_with_its_severity_and_no_other_one_is() -> None:
    """In the table of docs/operations.md."""
    severities = {cells[0].strip("`"): cells[1] for cells in rows(section("operations.md", "Alerts"))[1:]}
    assert severities == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    """Each in a sentence of its own."""
    table = rows(section("operations.md", "Alerts"))[1:]
    assert [
        cells[0] for cells in table if len(cells) != 4 or not all(re.fullmatch(r".{8,}[.?]", cell) for cell in cells[2:])
    ] == []


def test_every_alert_has_the_texts_that_mails_and_the_console_show() -> None:
    """What happens, where, and what to do."""
    texts = {"summary", "description", "action"}
    assert {name: rule["annotations"] for name, rule in ALERTS.items() if texts - {*rule["annotations"]}} == {}


def test_the_runbook_has_every_exit_status() -> None:
    """Those of the errors, of a held lock and of signals; 69 stands in words below the table."""
    text = section("operations.md", "Exit statuses")
    documented = {int(number) for cells in rows(text)[1:] for number in re.findall(r"\d+", cells[0])}
    assert documented == {0, RunError.status, WrongUseError.status, RefusedError.status, 4, BUSY, 130, 143}
    assert f" {NOT_RUN} " in text


def test_every_reason_of_the_quarantine_is_explained() -> None:
    """What the functions of `app.events` that find a reason can return."""
    spec = importlib.util.find_spec("app.events")
    assert spec is not None
    assert spec.origin is not None
    functions = [
        node
        for node in ast.walk(ast.parse(Path(spec.origin).read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_reason")
    ]
    returned = [
        part for each in functions for node in ast.walk(each) if isinstance(node, ast.Return) for part in ast.walk(node)
    ]
    words = {node.value for node in returned if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    reasons = {word for word in words if re.fullmatch(r"[a-z_]+", word)}
    assert len(reasons) > 10
    assert names_in_first_cells(section("stream.md", "Quarantine")) == reasons


def test_the_columns_of_the_tables_are_documented() -> None:
    """Those of `reccom` in a table, those of `tracking` in words."""
    columns = {cells[0].strip("`") for cells in rows(section("database.md", "reccom: one row an answer")) if len(cells) == 3}
    assert columns - {"column"} == {column.name for column in reccom.columns}
    assert {column.name for column in tracking.columns} <= {
        *re.findall(r"`(\w+)`", section("database.md", "tracking: one row a version"))
    }


def test_the_accounts_of_the_database_are_documented() -> None:
    """By their names."""
    assert names_in_first_cells(section("database.md", "Accounts and schema")) == {*GRANTS, UPKEEP}


def test_the_serving_arrays_are_documented() -> None:
    """Those that every artifact has, and those of exploration."""
    found = names_in_first_cells(section("artifact.md", "Arrays"))
    assert {name.removeprefix("serving/") for name in found if name.startswith("serving/")} == {*NEEDED, *EXPLORE}


@pytest.mark.parametrize(("title", "setting"), [("Trainers", "trainer"), ("Rankers", "ranker")])
def test_every_trainer_and_ranker_is_documented(title: str, setting: str) -> None:
    """The values that the setting takes."""
    documented = names_in_first_cells(section("models.md", title)) - {setting.upper()}
    assert documented == set(get_args(Settings.model_fields[setting].annotation))


def test_every_check_of_the_gate_is_documented() -> None:
    """In the order in which `auto_deployment.evaluation.gate` makes them."""
    source = inspect.getsource(gate)
    checks = list(dict.fromkeys(re.findall(r'name="(\w+)"', source)))
    assert re.findall(r"^\d\. \*\*(\w+)\*\*", section("models.md", "Gate"), re.MULTILINE) == checks


def test_every_benchmark_is_documented() -> None:
    """With what it measures and its baseline."""
    benches = re.findall(r'^    "([a-z]+)": \w+\.\w+,$', (ROOT / "tests" / "bench" / "__main__.py").read_text(), re.MULTILINE)
    assert names_in_first_cells(section("benchmarks.md", "Running them")) == {*benches}


def test_every_task_of_the_task_runner_is_documented() -> None:
    """In docs/development.md; and no page names a task that does not exist."""
    tasks = {*re.findall(r"^task_(\w+)\(\)", (ROOT / "scripts" / "dev").read_text(), re.MULTILINE)}
    table = " ".join(cells[0] for cells in rows(text_of("development.md").partition("\n## ")[0]))
    assert {span.split()[0] for span in re.findall(r"`([^`]+)`", table)} == tasks
    named = {task for page in PAGES for task in re.findall(r"scripts/dev ([a-z]+)", page.read_text())}
    assert named - tasks == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """Paths from the project's root in code spans, without those that have a placeholder."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))
    paths = {path for span in spans for path in re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*)", span)}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_runs_exists(page: Path) -> None:
    """After `python -m` and `scripts/run`; and every dotted name of the project in a code span."""
    text = page.read_text()
    run = re.findall(r"(?:python -m|scripts/run(?: --installed)?) ((?:app|auto_deployment|scripts)[\w.]*)", text)
    dotted = re.findall(r"`((?:app|auto_deployment|scripts)(?:\.[a-z_]+)+)`", text)
    assert {name for name in {*run, *dotted} if not is_name(name)} == set()


def is_name(dotted: str) -> bool:
    """Whether it is a module, or something in one."""
    path = ROOT.joinpath(*dotted.split("."))
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    return module.is_file() and re.search(rf"^(?:def |class )?{path.name}\b", module.read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_page_leads_to_one(page: Path) -> None:
    """A page of the same folder, without an anchor: GitLab and the site make different ones."""
    targets = {target for target in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not target.startswith("http")}
    assert {target for target in targets if not (page.parent / target).is_file()} == set()
