"""The console's pages, from the files that the host side writes, a database, and a Prometheus that answers or is away."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.console.answers import Answers
from app.console.factory import create_console
from app.console.host_files import HostFiles
from app.console.prometheus import Alert, Prometheus, Series
from app.console.views import PROMISE, VERSIONS_A_PAGE, Sources
from app.provenance import Ledger, SecretError
from auto_deployment.common.console_files import publish_chain, publish_settings
from auto_deployment.common.settings import load_settings
from auto_deployment.online_evaluation.metrics import OnlineMetrics, TrackMetrics, Viewings
from auto_deployment.online_evaluation.share_intervals import ConfidenceInterval
from auto_deployment.release.analysis.aa_test import PROMISE as PROMISED
from auto_deployment.release.analysis.verdict import Decision, Verdict
from auto_deployment.release.state import INITIAL
from auto_deployment.release.state_machine import Ending
from tests.unit.app.console.host import BAKING, FOLDER, READINGS, Host, chain
from tests.unit.app.samples import row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


PAGES = ("/", "/release", "/versions", "/answers", "/answers?user=7", "/settings")
NOBODY = "http://127.0.0.1:1"
HIDDEN = "geheim"


class FakePrometheus(Prometheus):
    """One that answers from a table of queries; any other query has no series."""

    def __init__(self, series: dict[str, list[Series]], alerts: list[Alert]) -> None:
        super().__init__(NOBODY)
        self._series = series
        self._alerts = alerts

    def for_page(self) -> Prometheus:
        """It is never away."""
        return self

    def now(self, query: str) -> list[Series]:
        """The series of the table."""
        return self._series.get(query, [])

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The value of the table, at both ends."""
        assert (end - start) / step <= 240
        return [Series(each.labels, {start: each.last, end: each.last}) for each in self._series.get(query, [])]

    def alerts(self) -> list[Alert]:
        """Those that it was given."""
        return self._alerts


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that has written nothing yet."""
    return Host(tmp_path)


def text_of(page: str) -> str:
    """What a reader sees of a page, with single blanks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<main")[2]))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_any_source_says_what_is_missing_and_what_to_do(page: str) -> None:
    """In a console that was given nothing, and in one whose sources are away."""
    for prometheus in (None, Prometheus(NOBODY, 0.2)):
        sources = Sources(prometheus, HostFiles(None, None, None), Answers(lambda: None))
        answer = create_console(sources).test_client().get(page)
        assert answer.status_code == 200
        assert "Not shown:" in answer.text
        assert "What to do:" in answer.text


@pytest.mark.parametrize("page", PAGES)
def test_a_stack_that_has_just_started_has_pages_that_say_what_comes(host: Host, page: str) -> None:
    """No release, no version, no answer, no series."""
    host.versions.mkdir()
    host.answer(1)
    answer = host.client(FakePrometheus({}, [])).get(page)
    assert answer.status_code == 200
    assert "Not shown" not in answer.text
    assert re.search("yet|No alert fires|Nothing was served|The next run|Users of the last answers", answer.text)


def test_the_overview_names_versions_figures_and_alerts(host: Host) -> None:
    """Each figure with its unit; an alert with what to do."""
    service = {"service": "stable-1", "track": "stable", "version": "6"}
    found = {
        'up{job="service"}': [Series({"service": "stable-1"}, {1.0: 1.0}), Series({"service": "canary"}, {1.0: 0.0})],
        "service_start_time_seconds": [Series(service, {1.0: 1_767_600_000.0})],
        "nginx_answer_seconds:p99_5m": [Series({}, {1.0: 0.0123})],
        "nginx_answers:rate5m": [Series({}, {1.0: 41.5})],
        "sum by (step) (rate(answers_total[5m]))": [
            Series({"step": "known"}, {1.0: 3.0}),
            Series({"step": "popular"}, {1.0: 1.0}),
        ],
        "max(pipeline_kafka_lag)": [Series({}, {1.0: 1200.0})],
        "min(fresh_as_of_seconds > 0)": [Series({}, {1.0: 1_767_600_060.0})],
        "max(journal_bytes / journal_max_bytes)": [Series({}, {1.0: float("nan")})],
    }
    alert = Alert(
        "ServiceDown", "critical", "canary is down", "It does not answer.", "docker compose ps canary", "2026-01-05T08:00:00Z"
    )
    host.release(replace(INITIAL, in_service=6, since=1_767_600_000.0))
    text = text_of(host.client(FakePrometheus(found, [alert])).get("/").text)
    assert "canary is down critical, ServiceDown, since 2026-01-05 08:00:00 UTC It does not answer." in text
    assert "What to do: docker compose ps canary more: docs/operations.md, Alerts, ServiceDown" in text
    assert "stable-1 6 stable 2026-01-05 08:00:00 UTC" in text
    assert "canary does not answer" in text
    assert "99 of 100 answers within 12.3 ms clients give up at 600 ms" in text
    assert "answers 41.5 a second" in text
    assert "a list of their own: 75 %" in text
    assert "unread lines of the stream 1,200" in text
    assert "answers follow events until 2026-01-05 08:01:00 UTC" in text
    assert "journals of the services not known" in text
    assert "version 6 since 2026-01-05 08:00:00 UTC" in text


def test_a_canary_that_a_release_took_out_is_no_fault(host: Host) -> None:
    """The overview says which version it was. While a release runs, a canary that does not answer is a fault again."""
    state = replace(INITIAL, in_service=6, under_way=replace(BAKING, ending=Ending.ABORTED, reasons=("it is slower",)))
    down = FakePrometheus({'up{job="service"}': [Series({"service": "canary"}, {1.0: 0.0})]}, [])
    host.release(state.ended(state.under_way or BAKING, 1_767_600_000.0, false_alarm=None))
    assert "canary taken out: version 7 was aborted" in text_of(host.client(down).get("/").text)
    host.release(state)
    assert "canary does not answer" in text_of(host.client(down).get("/").text)


def test_a_version_without_a_report_has_no_link(host: Host) -> None:
    """Version 0, which an image was built with."""
    host.release(replace(INITIAL, in_service=0))
    host.publish(6)
    client = host.client(FakePrometheus({}, []))
    assert "/versions/0" not in client.get("/").text
    host.release(replace(INITIAL, in_service=6))
    assert "/versions/6" in client.get("/").text


def test_a_page_that_is_not_there_has_no_time(host: Host) -> None:
    """It was read from nothing."""
    assert "As of" not in host.client().get("/nosuch").text


def test_a_release_shows_each_measure_with_value_limit_sample_and_evidence(host: Host) -> None:
    """And the time to go, once the host side has written how long a bake is."""
    host.release(replace(INITIAL, in_service=6, under_way=BAKING), Verdict(Decision.BAKING, 60.0, READINGS))
    publish_settings(
        load_settings(log_dir=host.logs, canary_bake_minutes=90, canary_max_bake_minutes=100, smtp_password=HIDDEN)
    )
    text = text_of(host.client(FakePrometheus({}, [])).get("/release").text)
    assert "Release of version 7, replacing 6" in text
    assert "step bake" in text
    assert re.search(r"to go (30|2\d) min", text)
    assert "slowdown 1.4 times 1.2 times 5,120 7.5 of 6.2 worse the canary is 1.40 times as slow" in text
    assert "memory advisory not known 2 times 0 no test no data cAdvisor has no data" in text
    assert "scripts/deploy.sh abort" in text
    assert HIDDEN not in host.client().get("/settings").text


def test_ended_releases_are_listed_with_verdict_and_reasons_and_each_has_a_page(host: Host) -> None:
    """The promise of the self-test stands next to what it was."""
    state = replace(INITIAL, in_service=6, under_way=replace(BAKING, ending=Ending.ABORTED, reasons=("it is slower",)))
    host.release(
        state.ended(state.under_way or BAKING, 1_767_600_000.0, false_alarm=False), Verdict(Decision.FAIL, 61.0, READINGS)
    )
    client = host.client(FakePrometheus({}, []))
    text = text_of(client.get("/release").text)
    assert "2026-01-05 08:00:00 UTC 7 aborted it is slower ann@host" in text
    assert "0 of 1 self-tests found one of two equal services worse; at most 1 % are promised" in text
    assert "the canary is 1.40 times as slow" in text_of(client.get(f"/release/{FOLDER}").text)
    assert client.get("/release/..%2F..%2Fetc").status_code == 404
    assert client.get("/release/other").status_code == 404


def test_the_promise_is_that_of_the_release() -> None:
    """`app` must not import the host side, so the number stands twice."""
    assert pytest.approx(PROMISED) == PROMISE


def test_versions_show_their_metrics_and_the_share_that_the_next_report_knows(host: Host) -> None:
    """Online evaluation of a version is in a later version's report."""
    interval = ConfidenceInterval(0.4, 0.35, 0.45)
    group = TrackMetrics(version=3, track="stable", users=9, answers=100, watched=interval, popular=None, above=None)
    counts = dict.fromkeys(("requests", "failed", "young", "judged", "matched"), 0)
    viewings = Viewings(after_an_answer=1, without=1)
    telemetry = OnlineMetrics(days=(), until=None, hours=4, groups=(group,), uplift=None, viewings=viewings, **counts)
    host.publish(3)
    host.publish(4, telemetry)
    host.release(replace(INITIAL, in_service=3, taken_back={"4": "aborted"}))
    client = host.client()
    text = text_of(client.get("/versions").text)
    assert "4 aborted 2026-11-23 08:00 passed 0.710" in text
    assert re.search(r"3 in service 2026-11-23 08:00 passed 0\.710 .* 40 % 35 % to 45 % 50 20 90 svd a{10}", text)
    both = text_of(client.get("/versions/3?with=4").text)
    assert "Version 3 compared with 4" in both
    assert "watched share 40 % 35 % to 45 % not known yet" in both
    assert "rows of clean_rating.csv 97 MD5 bbbbbbbbbb 97 MD5 bbbbbbbbbb" in both
    assert client.get("/versions/9").status_code == 404


def test_a_thousand_versions_have_pages_that_read_only_what_they_show(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest first."""
    host.publish(1)
    content = (host.versions / "report_1.json").read_text()
    for number in range(2, 1001):
        (host.versions / f"report_{number}.json").write_text(content.replace('"version": 1', f'"version": {number}'))
    read: list[int] = []
    report_of = HostFiles.report

    def noted(files: HostFiles, number: int) -> dict[str, object] | None:
        read.append(number)
        return report_of(files, number)

    monkeypatch.setattr(HostFiles, "report", noted)
    text = text_of(host.client().get("/versions?page=2").text)
    assert f"{1000 - VERSIONS_A_PAGE} 2026-11-23" in text
    assert "page 2 of 20" in text
    assert len(read) == VERSIONS_A_PAGE + 1


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 3}'])
def test_a_damaged_file_is_named_and_the_rest_is_shown(host: Host, damage: str) -> None:
    """A torn report, one that is no object, and one that lacks its keys."""
    host.publish(4)
    (host.versions / "report_3.json").write_text(damage)
    page = host.client().get("/versions")
    assert page.status_code == 200
    assert re.search(r"report.{1,12}3.* (is damaged|cannot be read) \(", text_of(page.text))
    assert "4 2026-11-23" in text_of(page.text)


def test_answers_stand_next_to_the_history_once_one_is_explained(host: Host) -> None:
    """Before that, the page has the command to copy."""
    answer = host.answer()
    client = host.client()
    assert f"scripts/provenance why {answer} --console" in text_of(client.get("/answers?user=7").text)
    assert f"scripts/provenance why {answer} --console" in text_of(client.get(f"/answers/{answer}").text)
    publish_chain(host.logs, answer, chain())
    text = text_of(client.get("/answers?user=7").text)
    assert "jaws+1975 5 110 min" in text
    assert "up+2009, jaws+1975" in text
    why = text_of(client.get(f"/answers/{answer}").text)
    assert "1 jaws+1975 : rated 5" not in why
    assert "jaws+1975 : rated 5; adds +0.100" in why
    assert "Computed again by the image: equal to the byte." in why
    assert "tries: no log is kept" in why
    assert client.get("/answers/unknown").status_code == 404


def test_without_metrics_the_overview_counts_the_last_answers(host: Host) -> None:
    """By version, track and list, as in the demo. Nothing asks the database where there is a Prometheus."""
    host.answer(1)
    text = text_of(host.client().get("/").text)
    assert "there is no Prometheus here" in text
    assert re.search(r"3 stable a list of their own 100 % 2025-06-15 15:06:40 UTC", text)
    assert "last answers" not in text_of(host.client(FakePrometheus({}, [])).get("/").text)


def test_answers_with_the_same_films_are_explained_at_once(host: Host) -> None:
    """Their digest is the same; the command is for one whose films are not known."""
    answer = host.answer()
    with closing(Ledger(host.database)) as ledger:
        ledger.add_answers("journal", [row(8, user_id=7), row(9, user_id=7, digest="f" * 16)], 0)
    publish_chain(host.logs, answer, chain())
    text = text_of(host.client().get("/answers?user=7").text)
    assert text.count("up+2009, jaws+1975") == 2
    assert f"scripts/provenance why {9:032x} --console" in text


@pytest.mark.parametrize(
    "path", ["/answers/%C3%A9", "/answers/a%20b", f"/answers/{'a' * 65}", f"/versions/{10**9}", f"/versions/1?with={10**9}"]
)
def test_what_cannot_be_an_id_or_a_version_is_no_page(host: Host, path: str) -> None:
    """No source is asked for it: MySQL would refuse to compare such an id."""
    host.answer()
    assert host.client().get(path).status_code == 404


@pytest.mark.parametrize("user", ["-1", "x", "9223372036854775808", "<script>", "1" * 20])
def test_a_user_that_cannot_be_is_refused(host: Host, user: str) -> None:
    """With what a user is."""
    page = host.client().get("/answers", query_string={"user": user}).text
    assert "A user is a whole number below 2^63" in page
    assert "<script>" not in page.partition("<main")[2]


def test_what_comes_from_the_stream_is_escaped(host: Host) -> None:
    """A film id may be any text."""
    hostile = '"><script>alert(1)</script>'
    answer = host.answer()
    publish_chain(host.logs, answer, chain(film=hostile))
    client = host.client(
        FakePrometheus({"sum by (step) (rate(answers_total[5m]))": [Series({"step": hostile}, {1.0: 1.0})]}, [])
    )
    for page in (f"/answers/{answer}", "/answers?user=7", "/"):
        body = client.get(page).text.partition("<main")[2]
        assert "<script" not in body
        assert "alert(1)" in body


def test_a_page_allows_no_script_but_its_own_and_is_never_kept(host: Host) -> None:
    """Nothing inline, nothing from elsewhere, and no other site may frame it."""
    client = host.client()
    for path, kept in (("/", False), ("/nope", False), ("/static/console.js", True)):
        with client.get(path) as answer:
            headers = answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert (headers["Cache-Control"] == "no-store") is not kept
        assert headers["X-Content-Type-Options"] == "nosniff"
    page = client.get("/").text
    assert re.findall(r"<script(?![^>]* src=)|\son\w+=|\sstyle=|https?://", page) == []


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("localhost:8083", 200),
        ("127.0.0.1:8083", 200),
        ("[::1]:8083", 200),
        ("films.example", 200),
        ("evil.example", 421),
        ("10.0.0.1", 421),
    ],
)
def test_only_its_own_names_are_answered(host: Host, name: str, status: int) -> None:
    """Another name may have been pointed at this address by a page in the operator's browser."""
    assert host.client(None, "films.example").get("/", headers={"Host": name}).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_console_only_reads(host: Host, method: str) -> None:
    """No page takes anything but GET and HEAD."""
    assert host.client().open("/", method=method).status_code == 405


def test_a_fault_of_our_own_is_a_page_without_a_traceback(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has it."""
    monkeypatch.setattr(HostFiles, "release_state", lambda _: 1 / 0)
    answer = host.client().get("/release")
    assert answer.status_code == 500
    assert "see the console" in answer.text
    assert "ZeroDivision" not in answer.text


def test_a_database_that_is_away_empties_no_page(host: Host) -> None:
    """The same goes for a secret that cannot be read."""

    def without_secret() -> str:
        raise SecretError("/run/secrets/x: the file is empty")

    urls: list[Callable[[], str]] = [lambda: f"sqlite:///{host.folder / 'no' / 'such.sqlite'}", without_secret]
    for url in urls:
        client = create_console(Sources(None, HostFiles(None, None, None), Answers(url))).test_client()
        for path in ("/answers", "/answers?user=7", "/answers/00"):
            page = client.get(path)
            assert page.status_code == 200
            assert re.search("the database does not answer|the file is empty", page.text)


def test_pages_name_settings_without_secrets(host: Host) -> None:
    """In the file, too."""
    publish_settings(load_settings(log_dir=host.logs, smtp_password=HIDDEN, provenance_url="sqlite:///secret.sqlite"))
    written = (host.logs / "console" / "settings.json").read_text()
    assert HIDDEN not in written
    assert "secret.sqlite" not in written
    assert "CANARY_BAKE_MINUTES 720" in text_of(host.client().get("/settings").text)


def test_only_the_newest_chains_are_kept(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have histories of viewers."""
    monkeypatch.setattr("auto_deployment.common.console_files.CHAINS_KEPT", 3)
    for number in range(5):
        publish_chain(host.logs, f"{number:032x}", json.loads(json.dumps(chain())))
        time.sleep(0.01)
    assert sorted(path.stem[-1] for path in (host.logs / "console" / "why").iterdir()) == ["2", "3", "4"]
