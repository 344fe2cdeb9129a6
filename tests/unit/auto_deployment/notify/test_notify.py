from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.logs import MASK, Redactor
from auto_deployment.common.settings import Settings
from auto_deployment.notify import (
    MailChannel,
    MailServer,
    Notice,
    NotifyError,
    SlackChannel,
    deliver,
    failed,
    lag_alarm,
    nothing_new,
    open_channels,
    published,
    refused,
)
from auto_deployment.notify.channel import within
from auto_deployment.notify.delivery import PAUSES

if TYPE_CHECKING:
    from collections.abc import Callable

MAIL = {"smtp_host": "mail.example", "mail_from": "bot@example.org", "mail_to": "a@example.org, Bea <b@example.org>"}
LOGIN = {"smtp_user": "bot", "smtp_password": "hunter2-is-it"}
SLACK = {"slack_webhook_url": "https://hooks.example/services/T0/B0/zyxwvuts"}
NOTICE = Notice("subject", "text")


def settings(**given_: object) -> Settings:
    """Settings from these values and no file."""
    return Settings(_env_file=None, **given_)  # type: ignore[arg-type]


class Listener:
    """A channel that ends each try as it was told to, and the last one well."""

    def __init__(self, *ends: Exception, name: str = "drum") -> None:
        self.name = name
        self.tries = 0
        self._ends = list(ends)

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Take it, or not."""
        assert notice == NOTICE
        return self._take

    def _take(self) -> None:
        self.tries += 1
        if self._ends:
            raise self._ends.pop(0)


def test_a_published_version_has_its_figures_first() -> None:
    """Version and RMSE stand in the subject, the figures before the details, and at the end what is still to come."""
    notice = published(12, 0.8234, 12345, ["users 100", "films 20"])
    assert notice.subject == "movierec: version 12 published, RMSE 0.823"
    assert notice.text.startswith("version  12\nRMSE     0.8234\nratings  12,345\n\nusers 100\nfilms 20\n\n")
    text = " ".join(notice.text.split())
    assert "Version 12 is published: the push to git succeeded. No service runs version 12 yet." in text
    assert text.endswith("release begins with GitLab's pipeline. A mail 'deployed successfully' follows after the promotion.")
    assert "released" not in notice.subject + notice.text


def test_a_version_that_was_not_pushed_is_not_called_published() -> None:
    """With `--no-push`; the text says what publishes it."""
    notice = published(12, 0.8234, 12345, pushed=False)
    assert notice.subject == "movierec: version 12 made, not published, RMSE 0.823"
    assert "was not pushed (--no-push). The next run without this option publishes it." in " ".join(notice.text.split())
    assert "GitLab" not in notice.text


def test_a_version_that_a_later_run_publishes_is_named() -> None:
    """The run made no version of its own."""
    notice = nothing_new(7)
    assert notice.subject == "movierec: nothing new, version 7 published"
    assert "release begins with GitLab's pipeline" in " ".join(notice.text.split())


def test_a_refusal_is_reported_with_figures_limit_and_reasons() -> None:
    """And with what it means: nothing is served, nothing is lost."""
    notice = refused(["the RMSE is too high", "it learned nothing"], {"RMSE": 1.1234, "bias": "0.9"}, 1.0)
    assert notice.subject == "movierec: refused: the RMSE is too high; it learned nothing"
    assert notice.text.startswith("RMSE   1.123\nbias   0.9\nlimit  1\n\n- the RMSE is too high\n- it learned nothing\n\n")
    assert "the version in service stays" in notice.text


def test_a_refusal_without_figures_has_its_limit() -> None:
    """The data check may have nothing but a reason."""
    assert refused(["empty"], {}, 0.05).text.startswith("limit  0.05\n\n- empty\n")


def test_a_failure_is_reported_with_step_reason_and_what_to_do() -> None:
    """The step and the reason stand in the subject."""
    notice = failed("push", "the remote is away", "It is tried again.")
    assert notice.subject == "movierec: failed at push: the remote is away"
    assert notice.text == "step: push\nreason: the remote is away\n\nIt is tried again.\n"


def test_nothing_new_is_reported() -> None:
    """No version is no failure."""
    assert "nothing new" in nothing_new().subject
    assert nothing_new().text.startswith("0 new rows\n")


def test_a_growing_lag_is_reported_with_both_lags_and_what_to_do() -> None:
    """Figures first, then the settings that help."""
    notice = lag_alarm(2_500_000, 1_000_000)
    assert notice.subject == "movierec: lag grows: 2,500,000 messages"
    assert notice.text.startswith("lag now     2,500,000\nlag before  1,000,000\ngrown by    1,500,000\n\n")
    assert "COLLECT_MINUTES" in notice.text


@given(st.text(), st.text(), st.text())
def test_a_notice_fits_a_phone_and_no_header_can_be_injected(one: str, two: str, three: str) -> None:
    """Whatever a reason holds: short lines, and no character that ends one or drives anything."""
    for notice in (
        failed(one, two, three),
        refused([one, two], {three: 1.0}, 1),
        published(1, 0.5, 2, [one, two, three]),
        Notice(one, two * 20),
    ):
        assert notice.subject.isprintable() or not notice.subject.encode().isascii()
        assert all(len(line) <= 77 for line in [notice.subject, *notice.text.split("\n")])
        assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in notice.subject + notice.text.replace("\n", ""))
        assert len(notice.subject.splitlines()) <= 1
        notice.text.encode()


def test_an_injected_header_stays_in_the_subject() -> None:
    """A line's end in a reason becomes a blank."""
    message = mail().message(failed("push", "no\r\nBcc: thief@example.org\n\nbody", "x"))
    assert message["Bcc"] is None
    assert message["Subject"] == "movierec: failed at push: no Bcc: thief@example.org body"


def test_a_long_line_is_wrapped_below_its_indent() -> None:
    """A word that is too long is broken, a table's line goes on further in."""
    lines = Notice("s", f"  - {'word ' * 20}{'x' * 100}").text.split("\n")
    assert len(lines) == 3
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_long_subject_says_that_it_was_cut() -> None:
    """It ends in dots, at 77 characters."""
    subject = Notice("x" * 100, "").subject
    assert len(subject) == 77
    assert subject.endswith(" ...")


def mail(**given_: Any) -> MailChannel:
    """A channel that connects nowhere."""
    return MailChannel(MailServer("mail.example", **given_), "bot@example.org", ["a@example.org"], Redactor(["hunter2-is-it"]))


def test_no_secret_is_in_a_mail_even_where_it_was_cut_or_wrapped() -> None:
    """It is masked before the lines are made, so that no half of it stays."""
    secret = "hunter2-is-it"  # noqa: S105 - of nothing
    for blanks in range(60, 78):
        message = mail().message(failed("push", "x" * blanks + secret, "y" * blanks + secret))
        written = message.as_string()
        assert not any(secret[: length + 1] in written for length in range(4, len(secret)))
    assert MASK in written


def test_a_mail_says_that_no_person_wrote_it() -> None:
    """Its headers are those of an automatic mail; its id needs no look-up of the machine's name."""
    message = mail().message(Notice("süß", "ü"))
    assert message["From"] == "bot@example.org"
    assert message["To"] == "a@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@example.org>")
    assert message["Date"]
    assert message.get_content() == "ü\n"
    assert message.as_bytes().isascii()


def test_channels_without_settings_are_off_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, at INFO, naming the setting."""
    caplog.set_level(logging.INFO, logger="auto_deployment")
    assert open_channels(settings()) == []
    assert [(record.levelname, "is not set" in record.getMessage()) for record in caplog.records] == [("INFO", True)] * 2
    assert "SMTP_HOST" in caplog.text
    assert "SLACK_WEBHOOK_URL" in caplog.text


def test_channels_with_settings_are_opened() -> None:
    """Mail and Slack, with login or without."""
    assert [channel.name for channel in open_channels(settings(**MAIL, **LOGIN, **SLACK))] == ["mail", "Slack"]
    assert [channel.name for channel in open_channels(settings(**MAIL))] == ["mail"]
    (channel,) = open_channels(settings(**MAIL))
    assert isinstance(channel, MailChannel)
    assert channel.message(NOTICE)["To"] == "a@example.org, b@example.org"


@pytest.mark.parametrize("missing", ["mail_from", "mail_to", "smtp_user", "smtp_password", "smtp_host"])
def test_half_set_mail_is_refused_with_the_missing_setting(missing: str) -> None:
    """The start is stopped before the minutes are spent; the text begins with the setting's name."""
    with pytest.raises(WrongUseError, match=f"^{missing.upper()}: not set, though"):
        open_channels(settings(**{name: value for name, value in {**MAIL, **LOGIN}.items() if name != missing}))


@pytest.mark.parametrize("name", ["smtp_user", "smtp_password", "mail_from", "mail_to"])
def test_a_mail_setting_without_a_server_is_refused(name: str) -> None:
    """Whoever sets one wants mail."""
    with pytest.raises(WrongUseError, match=f"^SMTP_HOST: not set, though {name.upper()} is"):
        open_channels(settings(**{name: "a@example.org"}))


@pytest.mark.parametrize(
    "address", ["nobody", "a@", "@b", "a b@c", "a@b@c", "<a@b", "a@b>,", ",", "x: a@b;", "ü@example.org", "a@b\nBcc: c@d"]
)
@pytest.mark.parametrize("name", ["mail_from", "mail_to"])
def test_what_is_no_address_is_refused(name: str, address: str) -> None:
    """Named with its setting."""
    with pytest.raises(WrongUseError, match=f"^{name.upper()}: "):
        open_channels(settings(**{**MAIL, name: address}))


def test_two_senders_are_refused() -> None:
    """A mail has one."""
    with pytest.raises(WrongUseError, match=r"^MAIL_FROM: more than one"):
        open_channels(settings(**{**MAIL, "mail_from": "a@b, c@d"}))


@pytest.mark.parametrize(
    "url", ["hooks.example/zyxwvuts", "ftp://h/zyxwvuts", "https://", "https:///zyxwvuts", "https://h/zy xwvuts"]
)
def test_what_is_no_webhook_is_refused_without_being_shown(url: str) -> None:
    """The setting is named; its value is a secret."""
    with pytest.raises(WrongUseError, match=r"^SLACK_WEBHOOK_URL: ") as caught:
        open_channels(settings(slack_webhook_url=url))
    assert "wvuts" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "trusted"), [("localhost", True), ("127.0.0.2", True), ("::1", True), ("mail.example", False)]
)
def test_only_a_server_on_this_machine_is_trusted(host: str, *, trusted: bool) -> None:
    """Nobody is between us and it."""
    (channel,) = open_channels(settings(**{**MAIL, "smtp_host": host}))
    assert isinstance(channel, MailChannel)
    assert channel._server.trusted is trusted


def test_a_notice_is_reported_by_every_channel() -> None:
    """Nothing is said of what went well."""
    first, second = Listener(name="one"), Listener(name="two")
    assert deliver(NOTICE, [first, second], sleep=no_pause) == []
    assert (first.tries, second.tries) == (1, 1)


def no_pause(seconds: float) -> None:
    """No wait is expected."""
    raise AssertionError(seconds)


def test_a_channel_is_tried_three_times_with_growing_pauses() -> None:
    """The third try tells it."""
    pauses: list[float] = []
    listener = Listener(NotifyError("away"), NotifyError("away"))
    assert deliver(NOTICE, [listener], sleep=pauses.append) == []
    assert listener.tries == 3
    assert pauses == list(PAUSES)
    assert pauses == sorted(set(pauses))


def test_what_could_not_be_sent_is_returned_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The reason of the last try, by channel; the others are told all the same."""
    caplog.set_level(logging.WARNING, logger="auto_deployment")
    deaf, other = Listener(*[NotifyError(f"away {number}") for number in range(5)]), Listener(name="other")
    assert deliver(NOTICE, [deaf, other], sleep=lambda _seconds: None) == ["drum: away 2 (3 tries)"]
    assert (deaf.tries, other.tries) == (3, 1)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3 + ["ERROR"]


def test_channels_take_turns() -> None:
    """A channel that needs each of its tries delays another one by a single try. What was accepted is known at once."""
    turns: list[str] = []

    class Noted(Listener):
        def _take(self) -> None:
            turns.append(self.name)
            super()._take()

    slow, good = Noted(*[NotifyError("slow")] * 3, name="slow"), Noted(name="good")
    failures = deliver(
        NOTICE, [slow, good], sleep=lambda _seconds: turns.append("pause"), accepted=lambda name: turns.append(f"{name} has it")
    )
    assert failures == ["slow: slow (3 tries)"]
    assert turns == ["slow", "good", "good has it", "pause", "slow", "pause", "slow"]


def test_a_permanent_refusal_is_not_tried_again() -> None:
    """It would end the same way."""
    listener = Listener(NotifyError("no such address", permanent=True))
    assert deliver(NOTICE, [listener], sleep=no_pause) == ["drum: no such address"]
    assert listener.tries == 1


def test_a_channel_that_breaks_is_no_reason_to_fail() -> None:
    """Whatever it raises is told as a failure, and the next channel is tried."""
    other = Listener(name="other")
    assert deliver(NOTICE, [Listener(KeyError("x")), other], sleep=no_pause) == ["drum: KeyError"]
    assert other.tries == 1


def test_what_takes_too_long_is_left_behind() -> None:
    """A server that drips its answer holds nobody up."""
    until, begun = threading.Event(), time.monotonic()
    with pytest.raises(NotifyError, match=r"not done after 0\.05 s"):
        within(0.05, lambda: until.wait(20) and None)
    assert time.monotonic() - begun < 5
    until.set()


def test_an_error_within_the_time_is_passed_on() -> None:
    """As it was raised, a timeout of its own among them."""
    listener = Listener(TimeoutError("mine"))
    with pytest.raises(TimeoutError, match="mine"):
        within(5, listener.delivery(NOTICE))


def test_slack_has_an_error_for_what_is_no_url() -> None:
    """It is final, and does not show the URL."""
    channel = SlackChannel("nonsense://zyxwvuts", Redactor())
    with pytest.raises(NotifyError, match=r"cannot be reached \(InvalidSchema\)") as caught:
        channel.delivery(NOTICE)()
    assert caught.value.permanent


def test_copies_of_a_notice_with_a_key_have_one_message_id() -> None:
    """Also those of a process that was started again. Without a key each mail is its own, and another text is another mail."""
    keyed = Notice("subject", "text", "7-x 900.0")
    assert mail().message(keyed)["Message-ID"] == mail().message(keyed)["Message-ID"]
    others = (NOTICE, NOTICE, Notice("subject", "text", "8-x 900.0"), Notice("subject", "another", keyed.key))
    ids = {mail().message(each)["Message-ID"] for each in (keyed, *others)}
    assert len(ids) == 5
    assert all(each.endswith("@example.org>") for each in ids)
