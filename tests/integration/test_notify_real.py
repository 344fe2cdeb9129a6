"""Notices against real servers: SMTP with TLS and login, servers that refuse, hang, drip or are away, and a webhook's sink."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import ssl
import threading
import time
from contextlib import closing, contextmanager, suppress
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from auto_deployment.common import logs
from auto_deployment.common.logs import Redactor
from auto_deployment.common.settings import Settings
from auto_deployment.notify import Channel, MailChannel, MailServer, Notice, SlackChannel, deliver, failed, open_channels
from tests.http_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiosmtpd.smtp import SMTP, Envelope, Session

pytestmark = pytest.mark.slow

USER, PASSWORD = "bot", "hunter2/is+it"
WEBHOOK_PATH = "/services/T000AAAA/B000BBBB/zyxwvuts98765"
SECRETS = (PASSWORD, WEBHOOK_PATH, WEBHOOK_PATH[1:], "zyxwvuts98765", base64.b64encode(PASSWORD.encode()).decode())
NOTICE = failed("push", "the remote is away", "It is tried again: nothing is löst.")
TO = ("ann@example.org", "bea@example.org")


class PostOffice:
    """What a mail server received, and what it refuses: by recipient, the answers that it gives before it takes one."""

    def __init__(self, *, bad_quit: bool = False, thinks: float = 0.0, **refusals: list[str]) -> None:
        self.mails: list[Envelope] = []
        self.over_tls: list[bool] = []
        self.logins: list[bytes] = []
        self.asked = 0
        self._refusals = refusals
        self._bad_quit = bad_quit
        self._thinks = thinks

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or not."""
        self.asked += 1
        answers = self._refusals.get(address.partition("@")[0], [])
        if answers:
            return answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail, after looking through it."""
        self.mails.append(envelope)
        await asyncio.sleep(self._thinks)
        assert server.transport is not None
        self.over_tls.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 taken"

    async def handle_QUIT(self, *_: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """End, in order or not."""
        return "451 not now" if self._bad_quit else "221 Bye"

    def login(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        """Take a login; a wrong one is answered with the password, which no server should do."""
        assert isinstance(data, LoginPassword)
        self.logins.append(data.password)
        right = data == LoginPassword(USER.encode(), PASSWORD.encode())
        found = f"535 5.7.8 {data.password.decode()} is wrong"
        return AuthResult(success=right, handled=right, message=None if right else found)


class Certificates:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.file)
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(self.server)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One authority for all tests."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusting(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """The client knows the authority, as docs/configuration.md says: by SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.file))
    return certificates


@contextmanager
def mail_server(office: PostOffice, **options: Any) -> Iterator[int]:
    """A real SMTP server on a port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    controller = Controller(office, "127.0.0.1", port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def with_login(certificates: Certificates, office: PostOffice, **options: Any) -> dict[str, Any]:
    """The options of a server that wants TLS and a login."""
    return {
        "tls_context": certificates.server,
        "require_starttls": True,
        "authenticator": office.login,
        "auth_required": True,
        **options,
    }


def channel(port: int, **given: Any) -> MailChannel:
    """The mail channel to that port, in a hurry."""
    server = MailServer("127.0.0.1", port, **{"step_seconds": 0.3, "reply_seconds": 1.5, "total_seconds": 2.0, **given})
    return MailChannel(server, "bot@example.org", TO, Redactor([PASSWORD]))


def quick(channel: Channel, notice: Notice = NOTICE) -> list[str]:
    """Tell without pauses; the failures."""
    return deliver(notice, [channel], sleep=lambda _seconds: None)


@pytest.mark.parametrize("other", ["LOGIN", "PLAIN"])
def test_a_mail_arrives_over_tls_and_after_a_login(trusting: Certificates, other: str) -> None:
    """With either way to log in; subject and text are what was told."""
    office = PostOffice()
    with mail_server(office, **with_login(trusting, office, auth_exclude_mechanism=[other])) as port:
        assert quick(channel(port, user=USER, password=PASSWORD)) == []
    (mail,) = office.mails
    message = message_from_bytes(mail.original_content or b"", policy=policy.default)
    assert office.over_tls == [True]
    assert mail.rcpt_tos == list(TO)
    assert message["Subject"] == NOTICE.subject
    assert message.get_content().replace("\r\n", "\n") == NOTICE.text


def test_a_mail_arrives_where_nobody_asks_for_a_login(trusting: Certificates) -> None:
    """STARTTLS is used where it is offered, and not missed where it is not."""
    office = PostOffice()
    with mail_server(office, tls_context=trusting.server) as port:
        assert quick(channel(port)) == []
    with mail_server(office) as port:
        assert quick(channel(port)) == []
    assert office.over_tls == [True, False]


def test_a_mail_arrives_at_a_server_with_tls_from_the_first_byte(trusting: Certificates) -> None:
    """As on port 465."""
    office = PostOffice()
    with mail_server(office, ssl_context=trusting.server) as port:
        assert quick(channel(port, tls_at_once=True)) == []
    assert len(office.mails) == 1


def test_tls_from_the_first_byte_on_another_port_is_suspected(trusting: Certificates) -> None:
    """Such a server waits for the client, and the client for the server: without the hint there is only silence."""
    office = PostOffice()
    with mail_server(office, ssl_context=trusting.server) as port:
        (problem,) = quick(channel(port))
    assert "does it expect TLS from the first byte? SMTP_PORT=465 does that" in problem


def test_a_server_whose_certificate_nobody_vouches_for_gets_no_password(certificates: Certificates) -> None:
    """It may be somebody else's; what helps is said."""
    office = PostOffice()
    with mail_server(office, **with_login(certificates, office)) as port:
        (problem,) = quick(channel(port, user=USER, password=PASSWORD))
    assert "certificate cannot be verified" in problem
    assert "SSL_CERT_FILE" in problem
    assert (office.logins, office.mails) == ([], [])


def test_a_server_on_this_machine_may_vouch_for_itself(certificates: Certificates) -> None:
    """A local relay has a certificate of its own making."""
    office = PostOffice()
    with mail_server(office, **with_login(certificates, office)) as port:
        given = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_user": USER, "smtp_password": PASSWORD}
        settings = Settings(**given, mail_from="bot@example.org", mail_to=",".join(TO))  # type: ignore[arg-type]
        assert deliver(NOTICE, open_channels(settings)) == []
    assert len(office.mails) == 1


def test_a_password_is_never_sent_in_clear() -> None:
    """A server that offers a login but no TLS does not get it."""
    office = PostOffice()
    with mail_server(office, authenticator=office.login, auth_require_tls=False) as port:
        (problem,) = quick(channel(port, user=USER, password=PASSWORD))
    assert "no STARTTLS" in problem
    assert (office.logins, office.mails) == ([], [])


def test_a_wrong_password_is_tried_once_and_not_repeated(trusting: Certificates) -> None:
    """Trying again would lock the account; a server that echoes the password is masked."""
    office = PostOffice()
    options = with_login(trusting, office, auth_exclude_mechanism=["LOGIN"])
    with mail_server(office, **options) as port:
        (problem,) = quick(channel(port, user="somebody", password=PASSWORD))
    assert "535 5.7.8 *** is wrong" in problem
    assert office.logins == [PASSWORD.encode()]


def test_a_password_that_cannot_be_sent_is_said(trusting: Certificates) -> None:
    """SMTP's logins here are ASCII; the password is not shown."""
    office = PostOffice()
    with mail_server(office, **with_login(trusting, office)) as port:
        (problem,) = quick(channel(port, user=USER, password="hünter2"))  # noqa: S106 - of nothing
    assert problem.endswith("the mail or the login cannot be sent (UnicodeEncodeError)")


def test_refused_recipients_are_reported_and_not_tried_again() -> None:
    """550 stays 550; the addresses and the server's words stand in the failure."""
    office = PostOffice(ann=["550 no such user"] * 3, bea=["550 moved"] * 3)
    with mail_server(office) as port:
        (problem,) = quick(channel(port))
    assert "ann@example.org (550 no such user), bea@example.org (550 moved)" in problem
    assert (office.asked, office.mails) == (2, [])


def test_one_refused_recipient_does_not_keep_the_mail_from_the_other() -> None:
    """It arrives once, and the refusal is told."""
    office = PostOffice(ann=["550 no such user"] * 3)
    with mail_server(office) as port:
        (problem,) = quick(channel(port))
    assert "refused for ann@example.org (550 no such user); the other recipients got the mail" in problem
    assert [mail.rcpt_tos for mail in office.mails] == [["bea@example.org"]]


def test_a_server_that_is_busy_is_tried_again() -> None:
    """451 at first, then it takes the mail."""
    office = PostOffice(ann=["451 later"] * 2, bea=["451 later"] * 2)
    with mail_server(office) as port:
        assert quick(channel(port)) == []
    assert (office.asked, len(office.mails)) == (6, 1)


def ids(office: PostOffice) -> set[str]:
    """The Message-IDs of what it received."""
    return {str(message_from_bytes(mail.original_content or b"")["Message-ID"]) for mail in office.mails}


def test_a_recipient_who_is_refused_for_now_gets_the_mail_later() -> None:
    """As greylisting has it: the one alone, since the other one has it, and the very same mail."""
    office = PostOffice(bea=["451 greylisted"] * 2)
    with mail_server(office) as port:
        assert quick(channel(port)) == []
    assert [mail.rcpt_tos for mail in office.mails] == [["ann@example.org"], ["bea@example.org"]]
    assert len(ids(office)) == 1


def test_a_recipient_who_stays_refused_for_now_is_reported() -> None:
    """After three tries, with the server's words."""
    office = PostOffice(bea=["451 greylisted"] * 3)
    with mail_server(office) as port:
        (problem,) = quick(channel(port))
    assert problem == "mail: refused for bea@example.org (451 greylisted); the other recipients got the mail (3 tries)"
    assert len(office.mails) == 1


def test_a_recipient_who_is_refused_for_good_is_not_asked_for_again() -> None:
    """While the other one is, who then gets it; the refusal is told all the same."""
    office = PostOffice(ann=["550 no such user"], bea=["451 greylisted"])
    with mail_server(office) as port:
        (problem,) = quick(channel(port))
    assert problem == "mail: refused for ann@example.org (550 no such user); the other recipients got the mail"
    assert (office.asked, [mail.rcpt_tos for mail in office.mails]) == (3, [["bea@example.org"]])


def test_a_server_may_look_through_a_mail_for_longer_than_a_step() -> None:
    """Its answer to the whole message has a limit of its own."""
    office = PostOffice(thinks=0.6)
    with mail_server(office) as port:
        assert quick(channel(port)) == []
    assert len(office.mails) == 1


@pytest.mark.parametrize("limit", ["reply_seconds", "total_seconds"])
def test_copies_of_a_mail_that_was_not_confirmed_in_time_have_one_message_id(limit: str) -> None:
    """Each of the three tries may arrive; a mail program shows such copies once."""
    office = PostOffice(thinks=1.2)
    with mail_server(office) as port:
        (problem,) = quick(channel(port, **{limit: 0.4}))
        time.sleep(0.2)
    assert problem.endswith("(3 tries)")
    assert 1 <= len(office.mails) <= 3
    assert len(ids(office)) == 1


def test_a_line_of_a_mail_may_begin_with_a_dot() -> None:
    """It ends nothing and arrives."""
    office = PostOffice()
    with mail_server(office) as port:
        assert quick(channel(port), Notice("dots", ".\n..a\nb")) == []
    (mail,) = office.mails
    text = message_from_bytes(mail.original_content or b"", policy=policy.default).get_content()
    assert text.replace("\r\n", "\n") == ".\n..a\nb\n"


def test_a_mail_that_was_taken_is_not_sent_again_when_the_goodbye_fails() -> None:
    """The answer to QUIT does not matter any more."""
    office = PostOffice(bad_quit=True)
    with mail_server(office) as port:
        assert quick(channel(port)) == []
    assert len(office.mails) == 1


class Talker:
    """A server that takes connections and says `words` again and again, `every` seconds; or that hangs up on them."""

    def __init__(self, words: bytes = b"", every: float = 0.05, *, hang_up: bool = False) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._words = words
        self._every = every
        self._hang_up = hang_up
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self.port = int(self._socket.getsockname()[1])
        self.connections = 0
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._talk, args=[connection]))
                self._threads[-1].start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while not self._hang_up and not self._over.wait(self._every):
                connection.sendall(self._words)


def test_a_server_that_hangs_costs_three_limits_and_no_more() -> None:
    """It accepts and never answers: each try ends with its step's limit."""
    begun = time.monotonic()
    with Talker() as server:
        (problem,) = quick(channel(server.port))
    assert time.monotonic() - begun < 5
    assert "gave no answer within 0.3 s: does it expect TLS" in problem
    assert problem.endswith("(3 tries)")
    assert server.connections == 3


def test_a_server_that_drips_its_answer_ends_with_the_total_limit() -> None:
    """Each byte is in time, the whole is not."""
    begun = time.monotonic()
    with Talker(b"2") as server:
        (problem,) = quick(channel(server.port, total_seconds=0.4))
    assert time.monotonic() - begun < 5
    assert "not done after 0.4 s in all (3 tries)" in problem


def test_a_server_that_hangs_up_is_tried_again() -> None:
    """Three times."""
    with Talker(hang_up=True) as server:
        (problem,) = quick(channel(server.port))
    assert "closed" in problem or "reset" in problem
    assert server.connections == 3


def test_a_server_that_is_away_is_reported() -> None:
    """With host, port and the reason."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    assert quick(channel(port)) == [f"mail: 127.0.0.1:{port}: Connection refused (3 tries)"]


class Sink(ThreadingHTTPServer):
    """A webhook that gives these answers in turn, and 200 after them; it repeats the path, which no server should do."""

    daemon_threads = True

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.statuses = list(statuses)
        self.posts: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}{WEBHOOK_PATH}"


class _Hook(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        """Take a message."""
        assert self.path == WEBHOOK_PATH
        self.server.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        words = {404: b"no_service", 200: b"ok"}.get(status, self.path.encode())
        self.send_response(status)
        self.send_header("Location", self.server.url)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def sink(*statuses: int) -> Iterator[Sink]:
    """A running webhook."""
    with running(Sink(*statuses)) as server:
        yield server


def slack(url: str, **given: float) -> SlackChannel:
    """The Slack channel, in a hurry."""
    return SlackChannel(url, Redactor([url]), **{"step_seconds": 0.3, "total_seconds": 2.0, **given})


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes elsewhere."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_slack_gets_the_subject_and_the_text() -> None:
    """As plain text, with the three signs escaped that mean something there."""
    with sink() as hook:
        assert quick(slack(hook.url), Notice("a < b", "c & <d>")) == []
    assert hook.posts == [{"text": "*a &lt; b*\nc &amp; &lt;d&gt;"}]


@pytest.mark.parametrize("statuses", [(500, 500), (429, 503), (408,)])
def test_a_webhook_that_fails_at_first_is_tried_again(statuses: tuple[int, ...]) -> None:
    """Errors of the server, and those of being asked too often or too slowly, pass."""
    with sink(*statuses) as hook:
        assert quick(slack(hook.url)) == []
    assert len(hook.posts) == len(statuses) + 1


def test_a_webhook_that_stays_broken_is_given_up() -> None:
    """After three tries."""
    with sink(500, 500, 500) as hook:
        assert quick(slack(hook.url)) == ["Slack: the webhook answered 500 (3 tries)"]


@pytest.mark.parametrize(("status", "expected"), [(404, "404 no_service"), (403, "403"), (302, "302")])
def test_a_webhook_that_is_gone_is_not_tried_again(status: int, expected: str) -> None:
    """4xx stays so, and a redirect is not followed; Slack's word for it is told, what else it says is not."""
    with sink(status) as hook:
        assert quick(slack(hook.url)) == [f"Slack: the webhook answered {expected}"]
    assert len(hook.posts) == 1


def test_a_webhook_that_hangs_or_drips_costs_its_limits() -> None:
    """A step's limit, or that of a whole try."""
    begun = time.monotonic()
    with Talker() as server:
        assert quick(slack(f"http://127.0.0.1:{server.port}/")) == ["Slack: the webhook gave no answer within 0.3 s (3 tries)"]
    with Talker(b"H") as server:
        (problem,) = quick(slack(f"http://127.0.0.1:{server.port}/", total_seconds=0.4))
    assert "not done after 0.4 s" in problem
    assert time.monotonic() - begun < 8


def test_a_webhook_that_is_away_is_reported_without_its_url() -> None:
    """The library's own words would show it."""
    with sink() as hook:
        pass
    assert quick(slack(hook.url)) == ["Slack: the webhook cannot be reached (ConnectionError) (3 tries)"]


@contextmanager
def broken(kind: str, certificates: Certificates) -> Iterator[Channel]:
    """A channel that fails in that way."""
    login = {"user": USER, "password": PASSWORD}
    if kind == "mail refuses":
        office = PostOffice(ann=[f"550 {PASSWORD}"] * 9, bea=[f"451 {PASSWORD}"] * 9)
        with mail_server(office) as port:
            yield channel(port, **login, trusted=True)
    elif kind == "mail login":
        office = PostOffice()
        with mail_server(office, **with_login(certificates, office)) as port:
            yield channel(port, **{**login, "user": "x"}, trusted=True)
    elif kind == "mail distrusts":
        office = PostOffice()
        with mail_server(office, **with_login(certificates, office)) as port:
            yield channel(port, **login)
    elif kind == "mail echoes":
        with Talker(f"554 {PASSWORD}\r\n".encode()) as server:
            yield channel(server.port, **login)
    elif kind.startswith("Slack answers"):
        with sink(*[int(kind[-3:])] * 3) as hook:
            yield slack(hook.url)
    else:
        with Talker(hang_up=kind.endswith("up")) as server:
            url = f"http://127.0.0.1:{server.port}{WEBHOOK_PATH}"
            yield slack(url) if kind.startswith("Slack") else channel(server.port, **login)


KINDS = ("refuses", "login", "distrusts", "echoes", "hangs", "hangs up")
PATHS = (*[f"mail {kind}" for kind in KINDS], "Slack answers 500", "Slack answers 404", "Slack hangs", "Slack hangs up")


@pytest.mark.parametrize("kind", PATHS)
def test_no_failure_shows_a_secret(
    kind: str, certificates: Certificates, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in what is returned, on the console, in the log file, nor in a record before it is masked."""
    logs.configure(tmp_path, "run-7", logging.DEBUG, [])
    caplog.set_level(logging.DEBUG, logger="auto_deployment")
    try:
        with broken(kind, certificates) as channel_:
            failures = quick(channel_, failed("push", "https://u:t0ken@git/x said no", "x"))
    finally:
        logs.shut()
    written = "\n".join([*failures, *capfd.readouterr(), *(path.read_text() for path in tmp_path.iterdir())])
    assert len(failures) == 1
    assert "not sent" in written
    assert "t0ken" not in written
    assert [secret for secret in SECRETS if secret in written + caplog.text] == []
