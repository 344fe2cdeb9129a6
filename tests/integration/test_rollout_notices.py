"""Ends of releases on a cluster, announced over a real mail server and webhook. API, mail server or the process may be away."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import shutil
import ssl
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common.json_file import read_typed
from auto_deployment.common.logs import Redactor
from auto_deployment.common.prometheus import Prometheus
from auto_deployment.common.settings import NotifySettings
from auto_deployment.notify import MailChannel, MailServer, SlackChannel, open_channels
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.announcement import NOTIFY_SECONDS, Announcer
from auto_deployment.release.argo_rollout import Record
from auto_deployment.release.rollout_notices import (
    EVIDENCE_SECONDS,
    RETRY_SECONDS,
    Api,
    ApiError,
    Heartbeat,
    RolloutNotices,
    advice_for,
    main,
    run,
)
from scripts.ports import reserve
from scripts.tour.slack import SlackSink
from tests import argo
from tests.integration.conftest import wait_until
from tests.integration.post_office import PostOffice, open_post_office
from tests.integration.test_notify_real import Talker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
BEGAN = 1_790_000_000.0
BEFORE = argo.rollout(6, "six", "six", BEGAN)
PROMOTED = argo.rollout(7, "seven", "seven", BEGAN + 900)
ABORTED = argo.aborted(7, "seven", "six", BEGAN + 100, BEGAN + 500)
KILLS = 12


@dataclass
class Site:
    """A cluster's API, a mail server, a webhook, and a volume. `now` is the time of the process."""

    folder: Path
    api: argo.ApiServer
    office: PostOffice
    slack: SlackSink
    now: float = BEGAN + 1000
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, step: Callable[[], None] = lambda: None) -> RolloutNotices:
        """A process that has just started, without Prometheus."""
        settings = NotifySettings(**{name.lower(): value for name, value in self.environment.items()})  # type: ignore[arg-type]
        advice = advice_for(argo.NAME, argo.NAMESPACE, "movierec-notices-0")
        announcer = Announcer(open_channels(settings), Limits(), lambda: self.now, lambda _: None, advice)
        return self.notices(announcer, step)

    def notices(self, announcer: Announcer, step: Callable[[], None]) -> RolloutNotices:
        """The work of a process with this announcer."""
        api = Api(self.api.url, argo.account(self.folder / "account"))
        return RolloutNotices(api, argo.NAME, self.volume, announcer, lambda: Prometheus("http://127.0.0.1:9", 0.5), step)

    @property
    def volume(self) -> Path:
        """Where state and evidence are kept."""
        return self.folder / "volume"

    @property
    def record(self) -> Record:
        """The state on the volume."""
        return read_typed(self.volume / "state.json", Record) or Record()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """All there, with version 6 in service."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    slack = SlackSink()
    slack.start()
    with argo.api_server() as api, open_post_office() as office:
        made = Site(tmp_path, api, office, slack)
        made.environment = {**office.environment, "SLACK_WEBHOOK_URL": slack.url}
        api.rollout = BEFORE
        yield made
    slack.stop()


def mails(site: Site) -> list[tuple[str, str]]:
    """Subjects and texts of the mails, as they were written."""
    return [(subject.strip(), text.replace("\r\n", "\n")) for subject, text in site.office.read()]


def test_an_end_is_announced_once_and_kept(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """By mail and Slack, with the same words; files as on a server. Neither a later look nor a restart sends again."""
    caplog.set_level(logging.INFO)
    notices = site.start()
    notices.look()
    assert site.record.in_service == 6
    site.api.rollout = PROMOTED
    for each in (notices, notices, site.start()):
        each.look()
    ((subject, text),) = mails(site)
    assert subject == "movierec: version 7 promoted: deployed successfully"
    assert caplog.messages.count(subject) == 1
    for words in ("version   7, replacing 6\n", "by helm\n", "Version 7 is deployed: every service runs it."):
        assert words in text
    assert site.slack.messages == [f"*{subject}*\n{text}"]
    (end,) = [each.end for each in site.record.ends]
    assert (end.notified, end.notified_by) == (True, ("mail", "Slack"))
    folder = site.volume / end.folder
    assert {each.name for each in folder.iterdir()} == {"end.json", "events.jsonl", "report.html"}
    kept = json.loads((folder / "end.json").read_text())
    assert (kept["version"], kept["ending"], kept["settings"]["max_mean"]) == (7, "promoted", 0.5)
    assert "release, by helm, replacing version 6" in (folder / "report.html").read_text()


def test_only_the_evidence_of_recorded_ends_stays(site: Site) -> None:
    """Also that of a second template of one version, whose name ends with its hash. What is no evidence is left alone."""
    notices = site.start()
    notices.look()
    for name in ("3-20260101T000000Z", "3-20260101T000000Z-three", "log"):
        (site.volume / name).mkdir()
    for template in ("seven", "seven-b"):
        site.api.rollout = argo.aborted(7, template, "six", BEGAN + 100, BEGAN + 500)
        notices.look()
    first, second = [each.end.folder for each in site.record.ends]
    assert {each.name for each in site.volume.iterdir() if each.is_dir()} == {first, second, "log"}


def test_the_first_start_announces_nothing_that_is_over(site: Site) -> None:
    """A cluster whose last release was aborted long ago."""
    site.api.rollout = ABORTED
    site.start().look()
    site.start().look()
    assert (site.office.mails, site.slack.messages, site.record.ends) == ([], [], ())


def test_a_mail_server_that_is_away_gets_the_mail_later(site: Site) -> None:
    """Slack has it at once, and only once. After a day nobody tries any more."""
    site.start().look()
    site.office.stop()
    site.api.rollout = ABORTED
    notices = site.start()
    for _ in range(3):
        notices.look()
    assert len(site.slack.messages) == 1
    assert [each.end.notified_by for each in site.record.ends] == [("Slack",)]
    site.office.start()
    notices.look()
    assert site.office.mails == []
    site.now += RETRY_SECONDS
    notices.look()
    ((subject, _),) = mails(site)
    assert subject == "movierec: canary 7 aborted: an operator asked for it"
    assert len(site.slack.messages) == 1
    site.office.stop()
    site.api.rollout = argo.aborted(8, "eight", "six", BEGAN + 100, BEGAN + 800, written=BEGAN + 600)
    notices.look()
    assert [each.end.notified for each in site.record.ends] == [True, False]
    site.now += NOTIFY_SECONDS
    notices.look()
    assert [each.end.notified for each in site.record.ends] == [True, True]
    site.office.start()


def test_an_end_is_announced_while_the_api_is_away(site: Site) -> None:
    """What is recorded already. What happens meanwhile is found when the API is back."""
    site.start().look()
    site.office.stop()
    site.slack.stop()
    site.api.rollout = ABORTED
    site.start().look()
    site.office.start()
    site.slack.start()
    site.api.status = 500
    with pytest.raises(ApiError, match="status 500"):
        site.start().look()
    assert (len(site.office.mails), len(site.slack.messages)) == (1, 1)
    site.api.rollout = argo.rollout(8, "eight", "eight", BEGAN + 950)
    site.api.status = 200
    site.start().look()
    assert site.office.subjects[1:] == ["movierec: version 8 promoted: deployed successfully"]


def test_without_prometheus_an_end_waits_and_is_then_announced(site: Site) -> None:
    """With what Argo says."""
    site.start().look()
    why = 'Step-based analysis phase error/failed: Metric "verdict" assessed Failed due to failed (1) > failureLimit (0)'
    site.api.rollout = argo.aborted(7, "seven", "six", BEGAN + 100, BEGAN + 500, why)
    site.api.runs = [argo.analysis("seven", 7, BEGAN + 110, (BEGAN + 499, "Failed", "fail"))]
    site.now = BEGAN + 510
    notices = site.start()
    notices.look()
    assert site.office.mails == []
    # A newer version comes before the evidence.
    site.api.rollout = argo.rollout(8, "eight", "six", BEGAN + 100, written=BEGAN + 520)
    notices.look()
    site.now = BEGAN + 501 + EVIDENCE_SECONDS
    notices.look()
    ((subject, text),) = mails(site)
    assert subject.startswith("movierec: canary 7 aborted: Step-based analysis phase error/failed: ")
    assert "failureLimit (0)" in " ".join(text.split())
    assert '"said": "fail"' in (site.volume / site.record.ends[0].end.folder / "events.jsonl").read_text()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("namespace", "namespace: cannot be read: the pod needs a service account's token"),
        ("token", "status 401: the account needs get on rollouts, list on analysisruns"),
        ("server", "the API server cannot be reached"),
        ("rollout", "not there: install Argo Rollouts, and the chart with rollout.enabled"),
        ("object", "not a Rollout of Argo Rollouts 1.8 or newer"),
    ],
)
def test_a_cluster_that_does_not_fit_is_named(site: Site, broken: str, words: str) -> None:
    """What is wrong, and what to do."""
    notices = site.start()
    account = site.folder / "account"
    if broken == "namespace":
        (account / broken).unlink()
    elif broken == "token":
        (account / broken).write_text("another")
    elif broken == "server":
        site.api.url = f"http://127.0.0.1:{reserve()[0]}"
        notices = site.start()
    else:
        site.api.rollout = None if broken == "rollout" else {"metadata": {}}
    with pytest.raises(ApiError, match=words):
        notices.look()


def test_wrong_settings_end_the_process_with_one_line(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the environment, or outside of a pod."""
    given = ["--rollout", argo.NAME, "--folder", str(site.volume), "--account", str(argo.account(site.folder / "account"))]
    assert main(given) == 2
    assert capsys.readouterr().err == "KUBERNETES_SERVICE_HOST: not set: run this in a pod, or give --api\n"
    monkeypatch.setenv("SMTP_HOST", "mail.example")
    assert main([*given, "--api", site.api.url]) == 2
    assert capsys.readouterr().err == "MAIL_FROM: not set, though SMTP_HOST is: set both, or neither\n"


class SlowMails(list[Any]):
    """Mails of a server that takes its time, so that a kill often comes while a mail is sent."""

    def append(self, mail: Any) -> None:
        """Keep a mail after a while. The server confirms it after another."""
        time.sleep(0.1)
        super().append(mail)
        time.sleep(0.1)


def started(site: Site) -> subprocess.Popen[bytes]:
    """A process of its own, which has looked at the Rollout."""
    account, heartbeat = str(site.folder / "account"), str(site.folder / "heartbeat")
    given = ["--rollout", argo.NAME, "--folder", str(site.volume), "--api", site.api.url, "--account", account]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
        "PROMETHEUS_URL": "http://127.0.0.1:9",
        **site.environment,
    }
    command = [sys.executable, "-m", "auto_deployment.release.rollout_notices", *given, "--heartbeat", heartbeat]
    looks = site.api.count
    process = subprocess.Popen(command, env=environment, cwd=site.folder)
    wait_until(lambda: site.api.count > looks, 60)
    return process


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_moment_loses_nothing(site: Site) -> None:
    """Each end arrives: as copies of one mail, and at most once more for each kill. TERM ends the process."""
    site.now = time.time()
    site.start().look()
    site.office.mails = SlowMails()
    moments, ends = random.Random(19), 0
    for kill in range(KILLS):
        if kill % 3 == 0:
            ends += 1
            site.api.rollout = argo.aborted(7, "seven", "six", time.time() - 100, time.time() + ends)
        with started(site) as process:
            time.sleep(moments.uniform(0, 0.5))
            process.kill()
        assert all(json.loads(path.read_text()) for path in site.volume.rglob("*.json"))
    with started(site) as process:
        wait_until(lambda: all(each.end.notified for each in site.record.ends), 60)
        process.terminate()
        assert process.wait(20) == 0
    assert (site.folder / "heartbeat").exists()
    assert len(site.record.ends) == ends
    for copies in (Counter(str(mail["Message-ID"]) for mail in site.office.mails), Counter(site.slack.messages)):
        assert len(copies) == ends
        assert sum(copies.values()) <= ends + KILLS
    for each in site.record.ends:
        assert (site.volume / each.end.folder / "report.html").stat().st_size > 1000


def test_a_full_volume_sends_nothing_that_cannot_be_recorded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has room again, the notice is sent once."""
    notices = site.start()
    notices.look()
    site.office.stop()
    site.slack.stop()
    site.api.rollout = ABORTED
    notices.look()
    site.office.start()
    site.slack.start()
    site.now += RETRY_SECONDS

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("auto_deployment.release.rollout_notices.write_typed", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                notices.look()
    assert (site.office.mails, site.slack.messages) == ([], [])
    notices.look()
    notices.look()
    assert (len(site.office.mails), len(site.slack.messages)) == (1, 1)


def certificates(folder: Path) -> Path:
    """An authority without a key usage, as clusters may have, in `ca.crt`, and a server of it in `server.pem`."""
    folder.mkdir()
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    for command in (
        [*new, "-x509", "-subj", "/CN=cluster", "-keyout", "ca.key", "-out", "ca.crt"],
        [*new, "-subj", "/CN=kube-apiserver", "-keyout", "server.key", "-out", "server.csr"],
        [
            "openssl",
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-extfile",
            "san",
            "-out",
            "server.crt",
        ],
    ):
        subprocess.run(command, capture_output=True, timeout=60, check=True, cwd=folder)
    (folder / "server.pem").write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
    return folder


def test_the_api_is_known_by_the_clusters_authority(site: Site) -> None:
    """One that Go's clients accept. Any other authority is refused, and the token is not sent."""
    made, other = certificates(site.folder / "made"), certificates(site.folder / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made / "server.pem")
    site.api.socket = context.wrap_socket(site.api.socket, server_side=True)
    site.api.url = site.api.url.replace("http:", "https:")
    notices = site.start()
    shutil.copy(made / "ca.crt", site.folder / "account" / "ca.crt")
    notices.look()
    assert site.record.in_service == 6
    shutil.copy(other / "ca.crt", site.folder / "account" / "ca.crt")
    count = site.api.count
    with pytest.raises(ApiError, match="its certificate is not one of"):
        notices.look()
    assert site.api.count == count


def test_an_end_that_cannot_be_written_holds_up_no_other_one(site: Site) -> None:
    """A damaged volume has a file in the place of the first end's folder."""
    notices = site.start()
    notices.look()
    blocked = site.volume / f"7-{datetime.fromtimestamp(BEGAN + 100, UTC):%Y%m%dT%H%M%SZ}"
    blocked.touch()
    site.api.rollout = ABORTED
    with pytest.raises(FileExistsError):
        notices.look()
    site.api.rollout = argo.aborted(8, "eight", "six", BEGAN + 100, BEGAN + 800, written=BEGAN + 600)
    with pytest.raises(FileExistsError):
        notices.look()
    assert site.office.subjects == ["movierec: canary 8 aborted: an operator asked for it"]
    blocked.unlink()
    notices.look()
    assert site.office.subjects[1:] == ["movierec: canary 7 aborted: an operator asked for it"]


def test_a_tarpit_for_mails_delays_slack_by_one_try(site: Site) -> None:
    """Its answer never ends. Before each step of minutes and between two tries, the process shows that it lives."""
    site.start().look()
    steps: list[int] = []

    def step() -> None:
        steps.append(len(site.slack.messages))

    nothing = Redactor([])
    with Talker(b"2") as tarpit:
        mail = MailChannel(MailServer("127.0.0.1", tarpit.port, total_seconds=0.4), "a@example.org", ["b@example.org"], nothing)
        slack = SlackChannel(site.slack.url, nothing)
        notices = site.notices(Announcer([mail, slack], Limits(), lambda: site.now, lambda _: step()), step)
        site.api.rollout = ABORTED
        notices.look()
    looked, written, announced, *between = steps
    assert (looked, written, announced, between) == (0, 0, 0, [1, 1])
    assert [each.end.notified_by for each in site.record.ends] == [("Slack",)]


def test_a_heartbeat_stops_with_the_volume_and_not_with_the_api(site: Site) -> None:
    """So the kubelet restarts a pod that cannot work, and none that waits for the API server."""
    heartbeat, state = Heartbeat(site.folder / "heartbeat"), site.volume / "state.json"
    assert heartbeat.path is not None
    beats: dict[str, list[bool]] = {}
    for condition in ("well", "damaged", "repaired", "without the API"):
        if condition == "damaged":
            state.write_text("{")
        elif condition == "repaired":
            state.unlink()
        site.api.status = 500 if condition == "without the API" else 200
        looks, seen = iter([False, False, False, True]), beats.setdefault(condition, [])

        def pause(path: Path = heartbeat.path, seen: list[bool] = seen) -> None:
            seen.append(path.exists())
            path.unlink(missing_ok=True)

        run(site.start(heartbeat.touch), heartbeat, looks.__next__, pause)
    assert beats == {
        "well": [True, True, True],
        "damaged": [True, False, False],
        "repaired": [False, True, True],
        "without the API": [True, True, True],
    }
