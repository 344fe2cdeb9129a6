"""An answer of a released version, computed again in its image, on a checkout with git and DVC remotes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from app.journal import Row
from app.provenance import Ledger
from tests.integration.checkout import ROOT, Checkout
from tests.integration.mysql.server import NoEngineError, docker
from tests.stack.stack import copy_of_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.provenance import TrackingRow

pytestmark = pytest.mark.slow

SAMPLE = ROOT / "data" / "sample" / "movielog.log"
TRACKED: TrackingRow = {
    "version_number": 7,
    "data_creation": None,
    "trained_on": None,
    "model_rmse": 0.5,
    "model_md5": "f" * 32,
}
TRIES = (
    '{"time":"2026-01-01T00:00:00+00:00","request_id":"second","answer_id":"x","status":200,"request_time":0.300,'
    '"upstream_addr":"a:1, b:1","upstream_status":"500, 200","upstream_time":"0.280, 0.020"}\n'
)
NEW_USER = 999_999_999
REPOSITORY = f"movierec-test-replay-{os.getpid()}"


class Whole(Checkout):
    """A checkout with all of the project in its first commit."""

    def _fill(self) -> None:
        copy_of_project(self.folder)


class Host:
    """A checkout that makes versions, and a database of answers that they gave."""

    def __init__(self, base: Path) -> None:
        self.checkout = Whole(base / "host", base)
        self.base = base
        self.settings = {"PROVENANCE_URL": f"sqlite:///{base / 'provenance.sqlite'}", "APP_IMAGE": REPOSITORY}
        lines = SAMPLE.read_bytes().splitlines(keepends=True)
        self.user = 0
        self._parts = [lines[: len(lines) * 2 // 3], lines]

    def release(self, number: int) -> None:
        """A version: the first of two thirds of the sample, the second of all of it."""
        path = self.base / f"{number}.log"
        path.write_bytes(b"".join(self._parts[number - 1]))
        ended = self.checkout.run("--input", str(path), **self.settings)
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def give(self, number: int, user: int, request_id: str) -> None:
        """Note an answer as a service of the version that is checked out now would."""
        ended = self.python("app.answer", str(user), MODEL_DIR=str(self.checkout.data("model")))
        result = json.loads(ended.stdout)
        assert result["version"] == number
        self.note(request_id, number, user, result["step"], result["digest"])

    def note(self, request_id: str, number: int, user: int, step: str, digest: str) -> None:
        """Put an answer into the database."""
        row = Row(f"{request_id:0>32}", request_id, user, number, "stable", 1_800_000_000_000_000, step, digest)
        with closing(Ledger(self.settings["PROVENANCE_URL"])) as ledger:
            ledger.add_answers(f"{request_id}.tsv", [row], 1)

    def python(self, module: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of the project in the checkout."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.checkout.folder,
            env={**self.checkout.environment, **self.settings, **settings},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def provenance(self, *arguments: str) -> tuple[int, Any]:
        """`scripts/provenance ... --json`: its status and its JSON."""
        ended = self.python("auto_deployment.provenance", *arguments, "--json")
        assert ended.stdout, ended.stderr
        return ended.returncode, json.loads(ended.stdout)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Two versions; of each an answer to a user that both know, of the second one to a new user."""
    try:
        docker("version")
    except NoEngineError as error:
        pytest.skip(str(error))
    made = Host(tmp_path_factory.mktemp("replay"))
    made.release(1)
    made.user = int(made.checkout.data("clean_rating.csv").read_text().splitlines()[1].split(",")[0])
    made.give(1, made.user, "first")
    made.release(2)
    made.give(2, made.user, "second")
    made.give(2, NEW_USER, "new")
    yield made
    for number in (1, 2):
        docker("image", "rm", "--force", f"{REPOSITORY}:model-{number}")


def test_an_answer_of_an_earlier_version_is_computed_again_in_its_image(host: Host) -> None:
    """Its model comes from the DVC remote, its image, which is gone, is built again from the tag; the next time it is there."""
    docker("image", "rm", "--force", f"{REPOSITORY}:model-1")  # another test may have built it
    status, result = host.provenance("replay", "first")
    assert (status, result["same"], result["computed"]["version"]) == (0, True, 1)
    assert result["computed"]["by"] == f"the image built again from model-1, {REPOSITORY}:model-1"
    status, result = host.provenance("replay", "first")
    assert (status, result["computed"]["by"]) == (0, f"the released image, {REPOSITORY}:model-1")


def test_a_model_that_only_its_owner_can_read_answers_again(host: Host) -> None:
    """As in a checkout made under umask 077: the container that computes the answer runs as the owner."""
    model = host.checkout.data("model")
    for path in (model, *model.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    status, result = host.provenance("replay", "second")
    assert (status, result["same"], result["computed"]["version"]) == (0, True, 2)


def test_an_answer_that_was_another_is_reported(host: Host) -> None:
    """A digest that is not what the version computes: status 1, both are shown."""
    host.note("forged", 1, host.user, "known", "0123456789abcdef")
    status, result = host.provenance("replay", "forged")
    assert (status, result["same"]) == (1, False)
    assert result["computed"]["digest"] != result["answer"]["digest"] == "0123456789abcdef"


def test_the_chain_leads_from_the_answer_to_the_stream(host: Host) -> None:
    """Of the second version: its own history, rows, offsets, commit and metrics, and the tries at NGINX. Nothing is missing."""
    (host.base / "tries.log").write_text(TRIES)
    page = host.base / "why.html"
    status, chain = host.provenance("why", "second", "--here", "--html", str(page), "--tries", str(host.base / "tries.log"))
    assert status == 0
    assert chain["missing"] == {}
    assert [(each["address"], each["status"]) for each in chain["tries"][0]["tries"]] == [("a:1", "500"), ("b:1", "200")]
    assert chain["answer"]["same_as_recorded"]
    assert chain["ranking"]["step"] == "known"
    version = chain["version"]
    assert version["number"] == 2
    assert version["commit"] == host.checkout.command("git", "rev-parse", "model-2^{commit}")
    assert version["code"] == host.checkout.command("git", "rev-parse", "model-2~1")
    assert (
        version["rows"]["clean_rating.csv"]["rows"] == len(host.checkout.data("clean_rating.csv").read_text().splitlines()) - 1
    )
    assert version["offsets"]
    assert chain["gate"]["passed"]
    html = page.read_text()
    assert chain["answer"]["films"][0] in html
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")


def test_a_version_s_history_ends_where_its_data_did(host: Host) -> None:
    """The first version's chain has fewer rows of the user, the same from the table of ratings as from the parts."""
    both = [host.provenance("why", request, "--here")[1]["history"] for request in ("first", "second")]
    assert 0 < len(both[0]) < len(both[1])
    table = host.checkout.data("clean_rating.csv")
    table.rename(table.with_suffix(".away"))
    try:
        again = [host.provenance("why", request, "--here")[1]["history"] for request in ("first", "second")]
    finally:
        table.with_suffix(".away").rename(table)
    assert again == both


def test_a_new_user_s_answer_comes_again_too(host: Host) -> None:
    """The popular films, by the code at hand."""
    status, result = host.provenance("replay", "new", "--here")
    assert (status, result["computed"]["step"], result["computed"]["by"]) == (
        0,
        "popular",
        "the code at hand, not the released image",
    )


def test_a_version_is_reported_with_what_it_served(host: Host) -> None:
    """Its row, its commit and its answers."""
    status, result = host.provenance("version", "2")
    assert status == 0
    assert result["commit"] == host.checkout.command("git", "rev-parse", "model-2^{commit}")
    assert [(each["track"], each["answers"]) for each in result["served"]] == [("stable", 2)]


def test_a_model_that_is_not_the_one_that_answered_is_reported(host: Host) -> None:
    """A version whose number was given twice: no answer is computed by the other one."""
    with closing(Ledger(host.settings["PROVENANCE_URL"])) as ledger:
        ledger.track(TRACKED)
        ledger.add_answers("seven.tsv", [Row("7" * 32, "seven", 5, 7, "stable", 1, "known", "0" * 16)], 1)
    ended = host.python("auto_deployment.provenance", "replay", "seven", "--here")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "git has no tag model-7" in ended.stderr
