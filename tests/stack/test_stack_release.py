"""Releases on the real stack, under load, with time compressed: what they end as, and that no request notices."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from scripts.ports import reserve
from scripts.rehearse.mailbox import Mailbox
from scripts.rehearse.release_stack import ReleaseStack
from tests.integration.load import Load
from tests.log_sample import path_of, release_log, shape_of
from tests.stack.stack import SERVICES, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.stack

CLIENTS = 6
PAUSE = 0.03
ENDLESS = 10**9
KILLS, SOAK_KILLS = 3, 30
# From a release's first step, or a resumption, to well into a promotion.
KILL_SECONDS = (0.5, 25.0)
ERRORS = {"FAULT_ERROR_SHARE": "0.2", "FAULT_AFTER_SECONDS": "15"}
STEP_SECONDS = 90.0
BEGINS_WITHIN = 10.0
NO_INDEX = "http://127.0.0.1:9/simple"


class Site:
    """A stack that versions are released to, and the mailbox of those who are told."""

    def __init__(self, stack: ReleaseStack, mailbox: Mailbox) -> None:
        self.stack = stack
        self.mailbox = mailbox
        self.version = 0

    def put_version(self, **faults: str) -> int:
        """Have the tree hold the next version; its number."""
        self.version += 1
        self.stack.put_version(self.version, **faults)
        return self.version

    def wait_for_step(self, step: str) -> None:
        """Wait until what is under way has come to a step."""
        wait_until(lambda: self.stack.step_under_way() == step, STEP_SECONDS, f"the step {step!r}")

    def status(self) -> dict[str, object]:
        """The answer of `status --json`."""
        return self.stack.status()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack of its own, and a mail server."""
    (port,) = reserve()
    mailbox = Mailbox(port)
    told = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "MAIL_FROM": "release@example.org", "MAIL_TO": "team@example.org"}
    stack = ReleaseStack(tmp_path_factory.mktemp("release"), "movierec-test-release", **told)
    mailbox.start()
    try:
        stack.start_clean()
        yield Site(stack, mailbox)
    finally:
        stack.down()
        mailbox.stop()


@contextmanager
def under_load(site: Site) -> Iterator[Load]:
    """Clients ask all the while, and none of their requests fails."""
    load = Load(site.stack.port, ENDLESS, CLIENTS, PAUSE)
    load.start()
    try:
        yield load
    finally:
        load.stop()
    assert load.failures == []
    assert load.statuses[200] > 100


def all_serve(site: Site, version: int, services: tuple[str, ...] = SERVICES) -> bool:
    """Whether these services all are healthy, of that version, on the stable track, by status and by themselves."""
    told = site.status()["services"]
    assert isinstance(told, dict)
    by_status = {(told[each]["version"], told[each]["track"], told[each]["healthy"]) for each in services}
    return by_status == {(version, "stable", True)} and {site.stack.version_and_track(each) for each in services} == {
        (version, "stable")
    }


def test_a_good_version_is_promoted_and_leaves_its_evidence(site: Site) -> None:
    """Everybody runs it, one mail says so, each answer has a row and a release's own tries have none; its page is there.

    While it bakes, the checkout gets code, a Compose file and a lock that cannot work, and an installation of these is killed.
    Its log has the shape of the sample in `data/sample/`.
    The canary's memory was known, whatever image store the engine has, and each value of the verdict is what Prometheus gives
    for its query.
    """
    version, mails = site.put_version(), len(site.mailbox.subjects)
    with under_load(site) as load:
        running = site.stack.start("release")
        site.wait_for_step("bake")
        with broken_upgrade(site.stack.folder):
            kill_an_installation(site.stack)
            begun = time.monotonic()
            assert site.status()["running"]
            assert time.monotonic() - begun < BEGINS_WITHIN
            status, said = site.stack.wait_for_end(running)
    assert status == 0, said
    kept = shape_of(path_of("release").read_text())
    assert shape_of(release_log(site.stack)) == kept, "make it again: scripts/dev logs release"
    assert all_serve(site, version)
    subjects = [mail.strip() for mail in site.mailbox.subjects[mails:]]
    assert subjects == [f"movierec: version {version} promoted: deployed successfully"]
    answered = set(load.answer_ids)
    wait_until(lambda: answered <= rows(site), 60, "all rows are in the database")
    _, headers, _ = site.stack.ask("/recommend/5", headers={"X-Shadow": "1"})
    assert "X-Answer-ID" in headers, "a client's own X-Shadow came through NGINX"
    strangers = "select count(*) from reccom where user_id > 9223372036854770000"
    assert site.stack.rows(strangers) == [(0,)]
    folder = site.stack.folder / ".stack" / "release" / site.stack.ends()[-1]["folder"]
    names = {"end.json", "events.jsonl", "evidence.json", "report.html", "self_test.json", "shadow.json", "verdict.json"}
    assert names <= {path.name for path in folder.iterdir()}
    assert (folder / "report.html").read_text().count("<svg") == 4
    verdict = json.loads((folder / "verdict.json").read_text())
    assert {each["name"]: each["outcome"] for each in verdict["readings"]}["memory"] == "within"
    for each in verdict["readings"]:
        (only,) = site.stack.query_prometheus(each["query"])
        assert float(only["value"][1]) == pytest.approx(each["value"], rel=0.01, abs=1e-9), f"{each['name']}: {each['query']}"


def kill_an_installation(stack: ReleaseStack) -> None:
    """Begin to install what the checkout's lock names, as an upgrade does, and end that with KILL."""
    command = [str(stack.folder / "scripts" / "run"), "--install"]
    environment = {**stack.environment, "PIP_INDEX_URL": NO_INDEX}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def broken_upgrade(checkout: Path) -> Iterator[None]:
    """Newer code that does not even start, a Compose file without the services, and a lock that no index has."""
    paths = [*checkout.glob("auto_deployment/**/*.py"), checkout / "docker-compose.yml", checkout / "requirements.txt"]
    before = {path: path.read_bytes() for path in paths}
    pin = f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n"
    try:
        for path in paths:
            path.write_text({".py": "raise SystemExit('newer code')\n", ".yml": "services: {}\n", ".txt": pin}[path.suffix])
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def rows(site: Site) -> set[str]:
    """The answers that the database knows."""
    return {row[0] for row in site.stack.rows("select answer_id from reccom")}


def test_a_version_with_errors_is_aborted_and_stays_away(site: Site) -> None:
    """No client sees one; the stable services go on; neither an `up` nor a second release brings it back by itself."""
    before = site.status()["in_service"]
    version, mails = site.put_version(**ERRORS), len(site.mailbox.subjects)
    started = [site.stack.container(service) for service in ("stable-1", "stable-2")]
    with under_load(site):
        status, said = site.stack.deploy("release", "--no-shadow", CANARY_BAKE_MINUTES="1")
        assert status == 3, said
        assert site.stack.compose("up", "-d", "--wait").returncode == 0
        assert site.stack.container("canary") == ""
        again, refused = site.stack.deploy("release")
    assert (again, "was aborted before" in refused) == (3, True), refused
    assert site.status()["in_service"] == before
    assert [site.stack.container(service) for service in ("stable-1", "stable-2")] == started
    (mail,) = site.mailbox.subjects[mails:]
    assert mail.strip().startswith(f"movierec: canary {version} aborted: success per try")


def test_releases_that_are_killed_go_on_to_the_end_that_they_deserve(site: Site, request: pytest.FixtureRequest) -> None:
    """With -9, at moments that the seed chooses, alone or with all that was started: three times, thirty in a soak.

    A good version is promoted and one with errors is aborted, with a mail; all services are well, and nobody holds the lock.
    """
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    left = SOAK_KILLS if request.config.getoption("--soak-hours") else KILLS
    while left > 0:
        is_good, before, mails = chance.random() < 0.5, site.status()["in_service"], len(site.mailbox.subjects)
        version = site.put_version(**({} if is_good else ERRORS))
        with under_load(site):
            left -= release_killed(site, chance, min(left, KILLS))
        ending, serves = ("promoted", version) if is_good else ("aborted", before)
        assert site.stack.ends()[-1]["version"] == version
        assert site.stack.ends()[-1]["ending"] == ending, site.stack.ends()[-1]
        assert site.status()["running"] is None
        assert site.status()["in_service"] == serves
        assert site.stack.problems() == []
        # Killed in the very second of telling, it tells once more.
        told = [mail.strip().split(":")[1].split(" by ")[0] for mail in site.mailbox.subjects[mails:]]
        assert set(told) == {f" {'version' if is_good else 'canary'} {version} {ending}"}, told


def release_killed(site: Site, chance: random.Random, most: int) -> int:
    """Release what the tree holds, kill it up to `most` times and have it go on; how often it was killed."""
    running, kills = site.stack.start("release", "--no-shadow", CANARY_BAKE_MINUTES="1"), 0
    wait_until(lambda: site.stack.step_under_way() is not None, STEP_SECONDS, "a release under way")
    for _ in range(most):
        time.sleep(chance.uniform(*KILL_SECONDS))
        if running.poll() is not None:
            break
        print(f"killed at {site.stack.step_under_way()}")
        kills += 1
        if chance.random() < 0.5:
            site.stack.kill(running)
        else:
            running.kill()
            running.wait()
            assert running.stdout is not None
            running.stdout.close()
        running = site.stack.start("resume", CANARY_BAKE_MINUTES="1")
    site.stack.wait_for_end(running)
    return kills


def test_a_newer_version_an_abort_and_a_rollback_reach_it_in_turn(site: Site) -> None:
    """The older is given up for the newer, which an operator promotes; a third is aborted; then all go back."""
    first, mails = site.put_version(), len(site.mailbox.subjects)
    with under_load(site):
        older = site.stack.start("release", "--no-shadow")
        site.wait_for_step("bake")
        status, said = site.stack.deploy("rollback")
        assert (status, f"release of version {first} by" in said) == (75, True), said
        second = site.put_version()
        status, said = site.stack.deploy("release", "--no-shadow")
        assert status == 0, said
        site.wait_for_step("bake")
        assert site.stack.deploy("promote")[0] == 0
        assert site.stack.wait_for_end(older)[0] == 0
        assert all_serve(site, second)
        third = site.put_version()
        running = site.stack.start("release", "--no-shadow")
        site.wait_for_step("bake")
        assert site.stack.deploy("abort", "--by", "eve")[0] == 0
        assert site.stack.wait_for_end(running)[0] == 3
        before = site.stack.ends()[-2]["replaces"]
        begun = time.monotonic()
        status, said = site.stack.deploy("rollback", str(before))
        assert status == 0, said
        assert time.monotonic() - begun < 60
    assert all_serve(site, before, ("stable-1", "stable-2"))
    assert [mail.strip() for mail in site.mailbox.subjects[mails:]] == [
        f"movierec: canary {first} superseded: version {second} came, by {site.stack.ends()[-1]['who']}",
        f"movierec: version {second} promoted: deployed successfully",
        f"movierec: canary {third} aborted: eve asked for it",
        f"movierec: rolled back to version {before} from {second}",
    ]
