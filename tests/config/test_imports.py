from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("app", "auto_deployment", "scripts", "tests")
ENTRIES = ("app.wsgi", "app.shipper", "app.migrate", "app.restore", "app.answer", "app.worker", "app.gunicorn.conf")
# A package imports itself and those before it. The commands in the root of auto_deployment import any of them.
DIRECTION = (
    *("common", "notify", "versioning", "ingestion", "online_evaluation", "training", "ranking", "evaluation"),
    *("reports", "pipeline", "release", "scheduler", "provenance"),
)
COMMANDS = {"auto_deploy", "models", "sample", "restore"}
TRAINING_ONLY = {"surprise", "pandas", "scipy", "numba", "rich", "duckdb"}


def name_of(path: Path) -> str:
    """A file's name as a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path, *, running: bool = False) -> set[str]:
    """Everything that a file imports, wherever in it, as whole names; or only what it needs while it runs."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(), str(path))
    for_types = {id(each) for node in ast.walk(tree) if _is_for_types(node) for each in ast.walk(node)}
    for node in ast.walk(tree):
        if running and id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


PATHS = {name_of(path): path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}
IMPORTS = {name: imports_of(path) for name, path in PATHS.items()}
RUNNING = {name: imports_of(path, running=True) for name, path in PATHS.items()}


def reachable(name: str) -> set[str]:
    """The project's modules that come with one when it runs."""
    found, open_ones = set[str](), {name}
    while open_ones:
        new = {imported for each in open_ones for imported in RUNNING[each] if imported in PATHS}
        open_ones = new - found
        found |= new
    return found


def inside(name: str, folder: str) -> bool:
    """Whether a module or a name in one belongs to a folder."""
    return name == folder or name.startswith(f"{folder}.")


def crossing(folder: str, into: str) -> set[tuple[str, str]]:
    """Modules of one folder and what they import from another."""
    return {(name, each) for name in PATHS if inside(name, folder) for each in IMPORTS[name] if inside(each, into)}


def test_there_is_something_to_look_at() -> None:
    """The four folders and the entries of the services."""
    assert all(any(inside(name, folder) for name in PATHS) for folder in FOLDERS)
    assert set(ENTRIES) <= set(PATHS)


def test_the_host_side_needs_only_what_it_shares_with_the_service() -> None:
    """`auto_deployment` imports nothing else from app."""
    allowed = ("app.model", "app.provenance", "app.env_file", "app.settings", "app.events", "app.fresh", "app.__version__")
    strange = {pair for pair in crossing("auto_deployment", "app") if pair[1] != "app"}
    assert {pair for pair in strange if not any(inside(pair[1], each) for each in allowed)} == set()


@pytest.mark.parametrize(
    ("folder", "into"),
    [
        *(("app", into) for into in ("auto_deployment", "scripts", "tests")),
        *(("auto_deployment", into) for into in ("scripts", "tests")),
        ("scripts", "tests"),
    ],
)
def test_imports_go_one_way(folder: str, into: str) -> None:
    """What is served knows nothing of what made it, and nothing knows the tests."""
    assert crossing(folder, into) == set()


def test_every_package_of_the_host_side_has_its_place_in_the_direction() -> None:
    """And the root holds no other module than the commands."""
    found = {path.stem for path in (ROOT / "auto_deployment").glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / "auto_deployment").glob("*/__init__.py")}
    assert (found, packages) == (COMMANDS, {*DIRECTION})


@pytest.mark.parametrize("package", DIRECTION)
def test_a_package_imports_only_those_before_it(package: str) -> None:
    """Types too: a reader who follows the list meets no name that comes later."""
    allowed = {*DIRECTION[: DIRECTION.index(package) + 1]}
    imported = {pair for pair in crossing(f"auto_deployment.{package}", "auto_deployment") if pair[1] != "auto_deployment"}
    assert {pair for pair in imported if pair[1].split(".")[1] not in allowed} == set()


@pytest.mark.parametrize("folder", ["app", "auto_deployment"])
def test_no_module_needs_itself(folder: str) -> None:
    """Inside a folder there is no way round: entry, pipeline, steps, pure functions."""
    assert [name for name in PATHS if inside(name, folder) and name in reachable(name)] == []


VERDICT = [
    name.partition(".")[2]
    for name in PATHS
    if inside(name, "auto_deployment.release.analysis") and not name.endswith(".scrape")
]


PLANS = ["scheduler.plan", "scheduler.status", "common.time_format", "online_evaluation.watched_counts"]
STEPS = ["evaluation.gate", "evaluation.evaluate", "training.rating_model", "training.surprise_svd"]


@pytest.mark.parametrize("module", ["common.errors", "common.intervals", "ranking.ranker", *STEPS, *PLANS, *VERDICT])
def test_what_decides_reads_and_writes_nothing(module: str) -> None:
    """Neither files, processes, networks nor the environment: what comes in decides."""
    doors = {"os", "sys", "io", "pathlib", "shutil", "subprocess", "socket", "urllib", "http", "logging", "tempfile", "time"}
    assert {each.partition(".")[0] for each in RUNNING[f"auto_deployment.{module}"]} & doors == set()


def test_the_pipeline_is_needed_by_none_of_its_steps() -> None:
    """Only what starts a run imports the pipeline."""
    users = {name for name in PATHS if inside(name, "auto_deployment") and "auto_deployment.pipeline.run" in IMPORTS[name]}
    assert users == {"auto_deployment.auto_deploy"}


def test_the_first_training_needs_no_telemetry() -> None:
    """An image that has no version yet trains on the sample while it is built, with what training needs and no more."""
    assert not {name for name in reachable("auto_deployment.sample") if inside(name, "auto_deployment.online_evaluation")}


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_of_the_training_is_within_reach_of_a_service(entry: str) -> None:
    """Not even in a function that is seldom called."""
    for name in {entry, *reachable(entry)}:
        assert {each.partition(".")[0] for each in RUNNING[name]} & TRAINING_ONLY == set(), name


def test_a_service_starts_without_anything_of_the_training(tmp_path: Path) -> None:
    """In a process of its own: what is loaded there holds neither the trainer's libraries nor the host side."""
    code = (
        "import json, runpy, sys\n"
        "import app.wsgi, app.shipper, app.migrate, app.restore, app.answer, app.worker\n"
        "runpy.run_path('app/gunicorn.conf.py')\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "RUN_DIR": str(tmp_path / "run")}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(ended.stdout)}
    assert {"app", "flask", "numpy"} <= loaded
    assert loaded & (TRAINING_ONLY | {"auto_deployment", "scripts", "tests"}) == set()
