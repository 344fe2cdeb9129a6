"""Ends of releases on a real cluster arrive by mail and Slack, and their evidence can be copied out of the pod."""

from __future__ import annotations

import ctypes
import json
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.ports import reserve
from scripts.rehearse.mailbox import Mailbox
from scripts.tour.slack import SlackSink
from tests.cluster import cluster
from tests.cluster.rollouts import (
    FIRST,
    GOOD,
    VALUES,
    back_to,
    baking,
    images_of,
    in_service,
    next_good,
    release,
    released,
    rollout,
    wait_for_end,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.cluster, pytest.mark.long]

# Pods reach the nodes and nothing else, so the receivers are in the network of a node.
NETWORK = Path("/run/netns/movierec-node-1")
HOST = cluster.NODES["node-1"]
POD = f"{cluster.RELEASE}-notices-0"
SETTINGS = "mail-and-slack"
FAILING = 4
LONGEST_MINUTES = 1.5


@dataclass(frozen=True)
class Receivers:
    """A mail server and a webhook in the network of a node."""

    mailbox: Mailbox
    slack: SlackSink

    def texts(self) -> list[str]:
        """The mails as Slack has them, without line breaks and signs that differ."""
        return [_plain(f"*{mail['Subject']}*{mail.get_content()}") for mail in self.mailbox.mails]

    def messages(self) -> list[str]:
        """Slack's messages in the same form."""
        return [_plain(each) for each in self.slack.messages]


@contextmanager
def in_network_of_a_node() -> Iterator[None]:
    """The sockets of this thread, and of threads that it starts, are in the node's network until the end of the block."""
    with Path("/proc/thread-self/ns/net").open() as own, NETWORK.open() as of_node:
        set_network(of_node.fileno())
        try:
            yield
        finally:
            set_network(own.fileno())


def set_network(descriptor: int) -> None:
    """Enter a network namespace. `os.setns` is of Python 3.12."""
    assert ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) == 0, os.strerror(ctypes.get_errno())


def _plain(text: str) -> str:
    return "".join(text.split()).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")


@pytest.fixture(scope="module")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    """The first version in service as a Rollout, whose ends are announced here."""
    with images_of((FIRST, GOOD, FAILING), tmp_path_factory), ExitStack() as stack:
        (port,) = reserve()
        found = Receivers(Mailbox(port, HOST), SlackSink(HOST))
        with in_network_of_a_node():
            found.mailbox.start()
            stack.callback(found.mailbox.stop)
            found.slack.start()
            stack.callback(found.slack.stop)
        settings = {
            "SMTP_HOST": HOST,
            "SMTP_PORT": str(port),
            "MAIL_FROM": "movierec@example.org",
            "MAIL_TO": "ann@example.org",
            "SLACK_WEBHOOK_URL": found.slack.url,
        }
        cluster.make_namespace()
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SETTINGS}, "stringData": settings}
        cluster.run("kubectl", "--namespace", cluster.NAMESPACE, "apply", "--filename", "-", content=json.dumps(secret))
        stack.enter_context(cluster.installed(*VALUES, "--set", f"alertmanager.settingsSecret={SETTINGS}"))
        cluster.rolled_out()
        cluster.wait_until(lambda: state()["serving"] == rollout()["status"]["stableRS"], 60, "nobody looked at the Rollout")
        yield found


def state() -> dict[str, Any]:
    """What the pod has recorded; empty before its first look."""
    recorded = cluster.kubectl("exec", POD, "--", "sh", "-c", 'cat state.json 2>/dev/null || echo \'{"serving": ""}\'')
    found: dict[str, Any] = json.loads(recorded)
    return found


def notified() -> int:
    """The number of ends that the pod recorded as announced: a later kill sends none of them again."""
    return sum(each["end"]["told"] for each in state().get("ends", ()))


def test_a_promotion_and_an_abort_are_announced_and_kept(receivers: Receivers, tmp_path: Path) -> None:
    """Each once, although the pod is killed between them and during the second bake, and the installation not at all."""
    mails, before, replaced, good = receivers.mailbox.mails, notified(), in_service(), next_good()
    number = len(mails)
    assert released(good, tmp_path).end == "promoted"
    cluster.wait_until(lambda: notified() == before + 1, 60, "no notice of the promotion")
    assert len(mails) == number + 1

    def kill() -> None:
        cluster.kubectl("delete", "pod", POD, "--grace-period", "0", "--force")

    kill()
    assert released(FAILING, tmp_path, kill).end == "aborted"
    cluster.wait_until(lambda: len(mails) == number + 2, 120, "no mail about the abort")
    back_to(good)
    subjects = [str(mail["Subject"]).strip() for mail in mails[number:]]
    assert subjects[0] == f"movierec: version {good} promoted: deployed successfully"
    assert subjects[1].startswith(f"movierec: canary {FAILING} aborted: success per try ")
    assert f"The canary was removed: version {good} stays in service." in mails[-1].get_content()
    cluster.wait_until(lambda: len(receivers.slack.messages) == number + 2, 30, "Slack has not both")
    assert receivers.messages() == receivers.texts()
    for mail, version, former in zip(mails[number:], (good, FAILING), (replaced, good), strict=True):
        print(mail["Subject"], mail.get_content(), sep="\n")
        (line,) = [line for line in mail.get_content().splitlines() if line.startswith("evidence ")]
        copied = tmp_path / f"{version}.html"
        cluster.kubectl("cp", line.split()[1], str(copied))
        text = copied.read_text()
        assert text.count("<svg") == 4
        assert f"<td>{version}, replacing {former}</td>" in text


def test_a_superseded_and_an_inconclusive_version_are_announced(receivers: Receivers) -> None:
    """Nobody visits, so there is no evidence. Another image ends the first bake, and the longest bake ends the second one."""
    before, superseded, mails = in_service(), next_good(), receivers.mailbox.mails
    number = len(mails)
    values = (*VALUES, "--set", f"alertmanager.settingsSecret={SETTINGS}")
    cluster.upgrade(*values, "--set-string", f"verdict.settings.CANARY_MAX_BAKE_MINUTES={LONGEST_MINUTES}")
    try:
        release(superseded)
        cluster.wait_until(baking, 120, "the version does not bake")
        release(FAILING)
        assert wait_for_end() == "aborted"
        cluster.wait_until(lambda: len(mails) == number + 2, 120, "no mail about both")
    finally:
        back_to(before)
        cluster.upgrade(*values)
    first, second = ((str(mail["Subject"]).strip(), " ".join(mail.get_content().split())) for mail in mails[number:])
    print(*first, *second, sep="\n")
    assert first[0].startswith(f"movierec: canary {superseded} superseded")
    assert f"Until its promotion version {before} stays in service." in first[1]
    assert second[0].startswith(f"movierec: canary {FAILING} inconclusive: ")
    assert f"The evidence did not suffice for a promotion: version {before} stays in service." in second[1]


@pytest.mark.usefixtures("receivers")
def test_the_account_may_read_the_rollout_and_no_more(tmp_path: Path) -> None:
    """By real calls with its token."""
    token = cluster.kubectl("create", "token", f"{cluster.RELEASE}-notices", "--duration", "10m").strip()
    for allowed in (("get", "rollout", "movierec-service"), ("get", "analysisruns")):
        status, output = cluster.call_with(token, tmp_path, *allowed)
        assert status == 0, output
    for refused in (
        ("get", "rollouts"),
        ("patch", "rollout", "movierec-service", "--type", "merge", "--patch", '{"spec":{"replicas":1}}'),
        ("get", "secret", SETTINGS),
        ("get", "pods"),
        ("exec", POD, "--", "true"),
        ("get", "analysisruns", "--namespace", "default"),
    ):
        status, output = cluster.call_with(token, tmp_path, *refused)
        assert (status != 0, "orbidden" in output) == (True, True), f"{refused}: {output}"
