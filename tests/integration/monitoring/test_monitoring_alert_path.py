"""An alert's whole way, faster: a target that dies, Prometheus, its rules, Alertmanager, a mail server and a webhook."""

from __future__ import annotations

import json
import re
import ssl
import time
from contextlib import ExitStack, contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from app.stack.alertmanager import CONFIGURATION, files
from scripts.ports import reserve
from tests.http_server import running
from tests.integration.conftest import wait_until
from tests.integration.monitoring.tools import ROOT, docker, image_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

pytestmark = pytest.mark.slow

LOGIN = {"SMTP_USER": "bot", "SMTP_PASSWORD": 'hunter2 "is" {{it}}'}
SUBJECT = "movierec: stable-1 is down"


class Handler(BaseHTTPRequestHandler):
    """Answers GET with one metric, and keeps what is posted."""

    def do_GET(self) -> None:
        """A scrape."""
        self._answer(b"up_and_well 1\n")

    def do_POST(self) -> None:
        """A message to the webhook."""
        parsed = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.path, parsed))  # type: ignore[attr-defined]
        self._answer(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def http_server(port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """A target of scrapes, or a webhook's sink."""
    ThreadingHTTPServer.allow_reuse_address = True
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.posted = []  # type: ignore[attr-defined]
    with running(server):
        yield server


class PostOffice:
    """A mail server's handler: keeps the mails, and lets in who knows the password."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        """Whether that is the user and the password."""
        right = data == LoginPassword(*(found.encode() for found in LOGIN.values()))
        return AuthResult(success=right, handled=right)


@contextmanager
def mail_server(port: int) -> Iterator[PostOffice]:
    """A real SMTP server, which wants TLS and a login."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("host.docker.internal").configure_cert(context)
    office = PostOffice()
    controller = Controller(
        office,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=office.login,
        auth_exclude_mechanism=["LOGIN"],  # its own words for that are others than those that servers have
    )
    controller.start()
    try:
        yield office
    finally:
        controller.stop()


@contextmanager
def container(service: str, folder: Path, target: str, *arguments: str) -> Iterator[None]:
    """A container of a service's image, in this machine's network, with `folder` mounted."""
    options = ["--network", "host", "--add-host", "host.docker.internal:127.0.0.1", "--user", "0:0", "--tmpfs", "/data"]
    started = docker("run", "-d", *options, "-v", f"{folder}:{target}:ro", image_of(service), *arguments).stdout.strip()
    try:
        yield
    except BaseException:
        print(docker("logs", started, check=False))
        raise
    finally:
        docker("rm", "-f", started, check=False)


def write_prometheus(folder: Path, dying: int, well: int, alertmanager: int) -> None:
    """The project's own configuration and rules, faster: stable-1 is at the port `dying`, everything else at `well`."""
    source = ROOT / "monitoring" / "prometheus"
    text = (source / "prometheus.yml").read_text()
    text = re.sub(r"(scrape|evaluation)_interval: \d+s", r"\1_interval: 1s", text)
    text = re.sub(r"scrape_timeout: \d+s", "scrape_timeout: 1s", text)
    text = text.replace("[stable-1:9100]", f"['127.0.0.1:{dying}']").replace(
        "[alertmanager:9093]", f"['127.0.0.1:{alertmanager}']", 1
    )
    text = re.sub(r"targets: \[[a-z][^\]]*\]", f"targets: ['127.0.0.1:{well}']", text)
    (folder / "rules").mkdir(parents=True)
    (folder / "prometheus.yml").write_text(text)
    for path in (source / "rules").glob("*.yml"):
        (folder / "rules" / path.name).write_text(re.sub(r"for: [12]m\n", "for: 2s\n", path.read_text()))


def write_alertmanager(folder: Path, smtp_port: int, slack_port: int) -> None:
    """The rendered configuration with its secrets, faster."""
    settings = {
        **LOGIN,
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(smtp_port),
        "MAIL_FROM": "bot@example.org",
        "MAIL_TO": "ann@example.org, bea@example.org",
        "SLACK_WEBHOOK_URL": f"http://127.0.0.1:{slack_port}/services/T0/B0/zyxwv",
    }
    made = files(settings, "/etc/alertmanager")
    configuration = json.loads(made[CONFIGURATION])
    configuration["route"] |= {"group_wait": "1s", "group_interval": "2s"}
    folder.mkdir()
    for name, content in {**made, CONFIGURATION: json.dumps(configuration)}.items():
        (folder / name).write_text(content)


def text_of(mail: EmailMessage) -> str:
    """The plain text of a mail, which has no other part."""
    (part,) = [part for part in mail.walk() if not part.is_multipart()]
    assert part.get_content_type() == "text/plain"
    return str(part.get_content()).replace("\r\n", "\n")


def test_a_service_that_dies_is_reported_once_and_its_return_once(tmp_path: Path) -> None:
    """By mail, over TLS and with a login, and on Slack, with what to do; and nothing else is told."""
    smtp, dying, alertmanager, prometheus = reserve(4)
    with ExitStack() as stack:
        office = stack.enter_context(mail_server(smtp))
        slack, well = stack.enter_context(http_server()), stack.enter_context(http_server())
        posted: list[tuple[str, dict[str, Any]]] = slack.posted  # type: ignore[attr-defined]
        write_alertmanager(tmp_path / "alertmanager", smtp, slack.server_port)
        write_prometheus(tmp_path / "prometheus", dying, well.server_port, alertmanager)
        stack.enter_context(
            container(
                *("alertmanager", tmp_path / "alertmanager", "/etc/alertmanager"),
                *("--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/data", "--cluster.listen-address="),
                "--data.retention=1440h",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
            )
        )
        with http_server(dying):
            stack.enter_context(
                container(
                    *("prometheus", tmp_path / "prometheus", "/etc/prometheus"),
                    *("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data"),
                    f"--web.listen-address=127.0.0.1:{prometheus}",
                )
            )
            time.sleep(8)
            assert (office.mails, posted) == ([], [])
        wait_until(lambda: office.mails and posted, 30)
        time.sleep(8)  # several group intervals: it is not told again
        assert [mail["Subject"] for mail in office.mails] == [SUBJECT]
        assert len(posted) == 1
        with http_server(dying):
            wait_until(lambda: len(office.mails) > 1 and len(posted) > 1, 30)
            time.sleep(5)
        subjects, over = office.mails
        assert over["Subject"] == "movierec: over: stable-1 is down"
        assert (subjects["From"], subjects["To"]) == ("bot@example.org", "ann@example.org, bea@example.org")
        assert re.fullmatch(
            r"stable-1 is down \(critical\)\nIt has not answered .*\nWhat to do: docker compose ps stable-1; .*\n"
            r"Since 20\S+Z, ServiceDown\s*",
            text_of(subjects),
        )
        assert re.fullmatch(r"Over: stable-1 is down\nFrom 20\S+Z to 20\S+Z, ServiceDown\s*", text_of(over))
        assert [path for path, _ in posted] == ["/services/T0/B0/zyxwv"] * 2
        first, second = (message["attachments"][0] for _, message in posted)
        assert (first["title"], second["title"]) == (SUBJECT, "movierec: over: stable-1 is down")
        assert "What to do: docker compose ps stable-1" in first["text"]
