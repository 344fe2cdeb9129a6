"""Releases on the real stack, under load, with compressed time: the ending of each, and no failed request."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from scripts.ports import reserve
from scripts.rehearse.__main__ import mail_settings
from scripts.rehearse.mailbox import Mailbox
from scripts.rehearse.release_stack import ReleaseStack
from tests.integration.browser import Reader, browser
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
# The range covers a release from its first step, or from its resumption, until the promotion.
KILL_SECONDS = (0.5, 25.0)
ERRORS = {"FAULT_ERROR_SHARE": "0.2", "FAULT_AFTER_SECONDS": "15"}
STEP_SECONDS = 90.0
BEGINS_WITHIN = 10.0
BEFORE_BAKE = ("build", "shadow", "take the canary out", "replace the canary", "warm up", "let the canary in")
NO_INDEX = "http://127.0.0.1:9/simple"


class Site:
    """A stack for releases, and the mailbox of its notices."""

    def __init__(self, stack: ReleaseStack, mailbox: Mailbox) -> None:
        self.stack = stack
        self.mailbox = mailbox
        self.version = 0

    def put_version(self, **faults: str) -> int:
        """Write the next version to the checkout, and return its number."""
        self.version += 1
        self.stack.put_version(self.version, **faults)
        return self.version

    def wait_for_step(self, step: str) -> None:
        """Wait until the release under way is at `step`."""
        wait_until(lambda: self.stack.step_under_way() == step, STEP_SECONDS, f"the step {step!r}")

    def status(self) -> dict[str, object]:
        """The answer of `status --json`."""
        return self.stack.status()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A separate stack, and a mail server."""
    (port,) = reserve()
    mailbox = Mailbox(port)
    stack = ReleaseStack(tmp_path_factory.mktemp("release"), "movierec-test-release", **mail_settings(port))
    mailbox.start()
    try:
        stack.start_clean()
        yield Site(stack, mailbox)
    finally:
        stack.down()
        mailbox.stop()


@pytest.fixture
def reader(site: Site) -> Iterator[Reader]:
    """Somebody who looks at the console of the stack. No page may make an error."""
    with browser() as launched:
        made = Reader(launched, f"http://127.0.0.1:{site.stack.ports['CONSOLE_PORT']}")
        yield made
        made.close()
    assert made.complaints == []


@contextmanager
def under_load(site: Site) -> Iterator[Load]:
    """Clients send requests all the time. No request fails."""
    load = Load(site.stack.port, ENDLESS, CLIENTS, PAUSE)
    load.start()
    try:
        yield load
    finally:
        load.stop()
    assert load.failures == []
    assert load.statuses[200] > 100


def all_serve(site: Site, version: int, services: tuple[str, ...] = SERVICES) -> bool:
    """Whether all these services are healthy and stable with `version`, by `status` and by their own answers."""
    found = site.status()["services"]
    assert isinstance(found, dict)
    by_status = {(found[each]["version"], found[each]["track"], found[each]["healthy"]) for each in services}
    return by_status == {(version, "stable", True)} and {site.stack.version_and_track(each) for each in services} == {
        (version, "stable")
    }


def test_a_good_version_is_promoted_and_leaves_its_evidence(site: Site, reader: Reader) -> None:
    """Every service runs the version, and one mail reports the promotion. The report exists.

    Each answer to a client has a row, and the release's own requests have none. During the bake, the checkout gets broken code,
    a broken Compose file and a broken lock, and an installation is killed. The release's log has the shape of the sample in
    `data/sample/`. The canary's memory is known with any image store.
    Prometheus returns each value of the verdict for the query of that value. Somebody follows the release in the console, from
    the build on.
    """
    version, mails = site.put_version(), len(site.mailbox.subjects)
    with under_load(site) as load:
        running = site.stack.start("release")
        wait_until(lambda: site.stack.step_under_way() is not None, STEP_SECONDS, "a release under way")
        reader.open("/release")
        reader.page.get_by_role("heading", name=f"Release of version {version}").wait_for()
        assert reader.page.locator(".figures dd").first.inner_text() in BEFORE_BAKE
        assert "The canary has not been observed yet" in reader.text()
        site.wait_for_step("bake")
        reader.open("/release")
        reader.page.get_by_role("row", name="slowdown").first.wait_for()
        reader.page.goto("about:blank")  # a browser is work for two cores, and the bake has few requests
        with broken_upgrade(site.stack.folder):
            kill_an_installation(site.stack)
            began = time.monotonic()
            assert site.status()["running"]
            assert time.monotonic() - began < BEGINS_WITHIN
            status, output = site.stack.wait_for_end(running)
    assert status == 0, output
    kept = shape_of(path_of("release").read_text())
    assert shape_of(release_log(site.stack)) == kept, "make it again: scripts/dev logs release"
    assert all_serve(site, version)
    reader.open("/release")
    reader.page.get_by_role("row", name=re.compile(rf"UTC {version} promoted every known measure kept")).wait_for()
    reader.page.get_by_role("link", name=re.compile("UTC")).first.click()
    reader.page.get_by_role("heading", name=f"Version {version}: promoted").wait_for()
    assert reader.page.locator(".plot canvas").count() == 4
    reader.picture("release")
    assert f"In service: version {version} since" in reader.open("/")
    reader.page.locator(".plot canvas").first.wait_for()
    reader.picture("overview")
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
    """Start the installation of the checkout's lock, as an upgrade does, and kill it."""
    command = [str(stack.folder / "scripts" / "run"), "--install"]
    environment = {**stack.environment, "PIP_INDEX_URL": NO_INDEX}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def broken_upgrade(checkout: Path) -> Iterator[None]:
    """Replace the code by code that cannot start, the Compose file by an empty one, and the lock by one that no index has."""
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
    """The ids of the answers in the database."""
    return {row[0] for row in site.stack.rows("select answer_id from reccom")}


def test_a_version_with_errors_is_aborted_and_stays_away(site: Site, reader: Reader) -> None:
    """No client gets an error, and the stable services stay. Neither `up` nor a second release starts the version again."""
    before = site.status()["in_service"]
    version, mails = site.put_version(**ERRORS), len(site.mailbox.subjects)
    started = [site.stack.container(service) for service in ("stable-1", "stable-2")]
    with under_load(site):
        status, output = site.stack.deploy("release", "--no-shadow", CANARY_BAKE_MINUTES="1")
        assert status == 3, output
        assert site.stack.compose("up", "-d", "--wait").returncode == 0
        assert site.stack.container("canary") == ""
        again, refused = site.stack.deploy("release")
    assert (again, "was aborted before" in refused) == (3, True), refused
    assert re.search(rf"UTC {version} aborted success per try", reader.open("/release"))
    assert site.status()["in_service"] == before
    assert [site.stack.container(service) for service in ("stable-1", "stable-2")] == started
    (mail,) = site.mailbox.subjects[mails:]
    assert mail.strip().startswith(f"movierec: canary {version} aborted: success per try")


def test_a_killed_release_is_resumed_and_reaches_the_right_ending(site: Site, request: pytest.FixtureRequest) -> None:
    """Killed with -9 at random moments, alone or with its process group: three times, and thirty times in a soak.

    A good version is promoted and a version with errors is aborted, each with a mail. All services are healthy, and the lock is
    free.
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
        # A release that is killed while it sends its notice sends the notice again.
        notices = [mail.strip().split(":")[1].split(" by ")[0] for mail in site.mailbox.subjects[mails:]]
        assert set(notices) == {f" {'version' if is_good else 'canary'} {version} {ending}"}, notices


def release_killed(site: Site, chance: random.Random, most: int) -> int:
    """Release the checkout's version, kill the release up to `most` times and resume it. Returns the number of kills."""
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


def test_a_newer_version_then_an_abort_then_a_rollback(site: Site) -> None:
    """A newer version supersedes the first and is promoted by an operator. A third is aborted. Then a rollback follows."""
    first, mails = site.put_version(), len(site.mailbox.subjects)
    with under_load(site):
        older = site.stack.start("release", "--no-shadow")
        site.wait_for_step("bake")
        status, output = site.stack.deploy("rollback")
        assert (status, f"release of version {first} by" in output) == (75, True), output
        second = site.put_version()
        status, output = site.stack.deploy("release", "--no-shadow")
        assert status == 0, output
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
        began = time.monotonic()
        status, output = site.stack.deploy("rollback", str(before))
        assert status == 0, output
        assert time.monotonic() - began < 60
    assert all_serve(site, before, ("stable-1", "stable-2"))
    assert [mail.strip() for mail in site.mailbox.subjects[mails:]] == [
        f"movierec: canary {first} superseded: version {second} came, by {site.stack.ends()[-1]['who']}",
        f"movierec: version {second} promoted: deployed successfully",
        f"movierec: canary {third} aborted: eve asked for it",
        f"movierec: rolled back to version {before} from {second}",
    ]
