"""What people read of a release: notices, status, page, and what a shadow says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.json_file import write_json_synced, write_typed
from auto_deployment.release import bake, shadow_result, status
from auto_deployment.release.analysis.aa_test import Rate
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.evidence import Evidence, Observation
from auto_deployment.release.analysis.readings import Outcome, Reading
from auto_deployment.release.analysis.verdict import Decision, Verdict, verdict
from auto_deployment.release.notices import notice_of, subject_of
from auto_deployment.release.page import page
from auto_deployment.release.probe import ProbeAnswer
from auto_deployment.release.state import ReleaseEnd
from auto_deployment.release.state_machine import Ending, ReleaseStep, Rollout
from auto_deployment.release.status import RolloutStatus, ServiceStatus, Status

if TYPE_CHECKING:
    from pathlib import Path

END = ReleaseEnd(7, Ending.ABORTED, ("mean 700 ms, limit 500 ms",), "ann", 0.0, 900.0, 6, "7-x")
POPULAR = ("a", "b", "c")


def ended(ending: Ending, *reasons: str) -> ReleaseEnd:
    """An end of version 7."""
    return ReleaseEnd(7, ending, reasons, "ann", 0.0, 900.0, 6, "7-x")


@pytest.mark.parametrize(
    ("end", "subject"),
    [
        (ended(Ending.PROMOTED), "movierec: version 7 promoted: deployed successfully"),
        (ended(Ending.ROLLED_BACK), "movierec: rolled back to version 7 from 6"),
        (END, "movierec: canary 7 aborted: mean 700 ms, limit 500 ms"),
        (ended(Ending.INCONCLUSIVE, "too few"), "movierec: canary 7 inconclusive: too few"),
        (ended(Ending.FAILED, "build: no room"), "movierec: canary 7 failed: build: no room"),
        (ended(Ending.SUPERSEDED, "version 8 came, by bob"), "movierec: canary 7 superseded: version 8 came, by bob"),
        (ended(Ending.REFUSED, "shadow mean 700 ms"), "movierec: canary 7 refused: shadow mean 700 ms"),
    ],
)
def test_every_end_has_a_subject_that_says_it_all(end: ReleaseEnd, subject: str) -> None:
    """Value and threshold in it, where there are some."""
    assert subject_of(end) == subject
    assert notice_of(end).subject == subject


def test_a_notice_says_what_serves_and_what_to_do() -> None:
    """With what was measured, who began it, and where the evidence lies."""
    reading = Reading("mean", Outcome.WORSE, 0.7, 0.5, "s", 100, "", "mean 700 ms, limit 500 ms")
    text = notice_of(END, (reading,)).text
    for words in ("by ann", "version 6 stays in service", "--again", "report.html", "mean: mean 700 ms"):
        assert words in " ".join(text.split())
    assert "--again" not in notice_of(ended(Ending.PROMOTED)).text


def test_only_a_promotion_is_called_a_deployment() -> None:
    """A version that was published, rolled back to or given up was not deployed successfully."""
    texts = {ending: notice_of(ended(ending)) for ending in Ending}
    assert {ending for ending, notice in texts.items() if "deployed" in notice.subject + notice.text} == {Ending.PROMOTED}
    assert "Version 7 is deployed: every service runs it." in texts[Ending.PROMOTED].text


def asked(seconds: float = 0.002, films: tuple[str, ...] = ("x", "y"), failed: int = 0, count: int = 100) -> list[ProbeAnswer]:
    """Answers to so many users, of which some failed."""
    return [ProbeAnswer(user, () if user < failed else films, seconds) for user in range(count)]


def shadowed(one: list[ProbeAnswer], other: list[ProbeAnswer] | None = None) -> shadow_result.ShadowResult:
    """A version beside the one in service."""
    return shadow_result.compare_answers(one, other or asked(), (POPULAR, POPULAR), "recorded", Limits())


def test_an_equal_version_passes_the_shadow() -> None:
    """With all its figures."""
    found = shadowed(asked())
    assert found.reasons == ()
    assert found.overlap == 1.0
    assert "100 requests (recorded): mean 2.0 ms (in service 2.0)" in found.summary()


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (asked(0.7), "shadow mean 700 ms, limit 500 ms"),
        (asked(0.05), "shadow mean 50 ms, limit 4 ms, from the version in service"),
        (asked(failed=2), "shadow errors 2 %, limit 0.5 %"),
        (asked(films=POPULAR), "shadow: 100 % popular lists, limit 20 %"),
    ],
)
def test_what_is_clearly_worse_is_refused_with_value_and_limit(one: list[ProbeAnswer], reason: str) -> None:
    """Before any user has seen it."""
    assert reason in shadowed(one).reasons


def test_other_lists_are_reported_and_never_judged() -> None:
    """A new version may well recommend other films; a millisecond is no difference."""
    found = shadowed(asked(0.0035, ("x", "z")))
    assert found.overlap == 0.5
    assert found.reasons == ()


def test_a_service_that_gives_the_popular_list_to_all_may_go_on_doing_so() -> None:
    """It is the change that counts."""
    assert shadowed(asked(films=POPULAR), asked(films=POPULAR)).reasons == ()
    assert shadowed(asked(failed=100)).overlap == 0.0


RUNNING = ServiceStatus("app:model-6", expected=True, since="1970-01-01T00:00:00.1Z", healthy=True, version=6, track="stable")
ABSENT = ServiceStatus(None, expected=False)
STATUS = Status(
    engine=True,
    in_service=6,
    since=0.5,
    services={"stable-1": RUNNING, "stable-2": RUNNING, "canary": ABSENT},
    running=None,
    under_way=None,
    self_test=Rate(0, 2, 0.0, 0.658),
    served_before=(),
    taken_back={},
    last_end=None,
)


def test_status_is_ten_lines() -> None:
    """The lines name what runs where, since when, and that nothing is under way."""
    lines = status.lines_of(STATUS, 600.0)
    assert len(lines) <= 10
    assert lines[0] == "in service    version 6, since 1970-01-01T00:00:00Z"
    assert lines[1] == "stable-1      version 6, stable, healthy, up 10 min, app:model-6"
    assert lines[3] == "canary        taken out"
    assert "false alarms  0 of 2 (0.0% to 65.8%), promised at most 1%" in lines


def test_status_shows_a_release_and_its_bake() -> None:
    """The step, the time left, who runs the release, and the evidence so far."""
    rollout = Rollout("release", 7, 6, "ann", 0.0, "7-x", ReleaseStep.BAKE)
    mean = Reading("mean", Outcome.WITHIN, 0.002, 0.5, "s", 100, "", "mean 2 ms, limit 500 ms")
    memory = Reading("memory", Outcome.NO_DATA, None, None, "bytes", 0, "", "memory: no metrics", required=False)
    under_way = RolloutStatus(rollout, 30.0, 30.0, Verdict(Decision.BAKING, 30.0, (mean, memory)))
    text = "\n".join(status.lines_of(replace(STATUS, under_way=under_way), 600.0))
    assert "release of version 7: bake, 30 min left, since 1970-01-01T00:00:00Z (10 min)" in text
    assert "NOBODY RUNS IT: scripts/deploy.sh resume" in text
    assert "baking: mean 2 ms, limit 500 ms (within); memory: no metrics (no data, advisory)" in text


def test_status_names_what_is_missing_and_what_was_taken_back() -> None:
    """A service that should run and does not is called missing."""
    services = {**STATUS.services, "stable-1": replace(ABSENT, expected=True)}
    end = ReleaseEnd(7, Ending.ABORTED, ("mean 700 ms",), "ann", 0.0, 0.0, 6, "7-x")
    text = "\n".join(status.lines_of(replace(STATUS, services=services, taken_back={"7": "aborted"}, last_end=end), 600.0))
    assert "stable-1      MISSING: docker compose up -d stable-1" in text
    assert "taken back    7 (aborted)" in text
    assert "version 7 aborted at 1970-01-01T00:00:00Z, by ann: mean 700 ms" in text


def test_status_without_an_engine_claims_nothing_of_a_service() -> None:
    """One line says so; no service is called missing."""
    silent = {name: replace(ABSENT, error="docker compose: Cannot connect") for name in STATUS.services}
    lines = status.lines_of(replace(STATUS, services=silent, engine=False), 600.0)
    assert [line for line in lines if "engine" in line] == [
        "services      no Docker engine answers: what runs is not known. Start Docker, or run scripts/dev engine"
    ]
    assert not [line for line in lines if "MISSING" in line or "taken out" in line]


def test_status_names_why_a_service_is_not_known() -> None:
    """The engine answers, and its client refused the question."""
    services = {**STATUS.services, "canary": replace(ABSENT, error="docker compose ps: no such file\nmore")}
    lines = status.lines_of(replace(STATUS, services=services), 600.0)
    assert "canary        not known: docker compose ps: no such file" in lines


def test_status_as_json_keeps_the_keys_that_scripts_read() -> None:
    """The rollout's keys have those of its bake among them, and an end has the keys of the state file."""
    rollout = Rollout("release", 7, 6, "ann", 0.0, "7-x", ReleaseStep.BAKE, promoted_by="eve")
    end = ReleaseEnd(6, Ending.PROMOTED, (), "ann", 0.0, 0.0, 5, "6-x", notified=True)
    under_way = RolloutStatus(rollout, 1.0, None, Verdict(Decision.BAKING, 1.0, ()))
    printed = json.loads(status.text_of(replace(STATUS, under_way=under_way, last_end=end), as_json=True))
    assert set(printed) == {
        *("engine", "in_service", "since", "services", "running", "under_way"),
        *("self_test", "served_before", "taken_back", "last_end"),
    }
    assert set(printed["services"]["canary"]) == {"image", "since", "healthy", "version", "track", "expected", "error"}
    assert (printed["under_way"]["step"], printed["under_way"]["urged"], printed["under_way"]["minutes_left"]) == (
        "bake",
        "eve",
        None,
    )
    assert printed["under_way"]["verdict"] == {"end": "baking", "minutes": 1.0, "readings": [], "reasons": []}
    assert set(printed["self_test"]) == {"hits", "count", "low", "high", "share", "promise"}
    assert (printed["last_end"]["told"], printed["last_end"]["told_by"]) == (True, [])


def look(number: int) -> Observation:
    """A look at three services alike."""
    counters = {"le 0.1": 90.0, "le 0.5": 99.0, "le +Inf": 100.0, "seconds": 5.0, "try 2xx": 100.0, "try 5xx": 1.0}
    return Observation(60.0 * number, dict.fromkeys(("canary", "stable-1", "stable-2"), counters))


def test_a_page_shows_the_bake_and_needs_no_network(tmp_path: Path) -> None:
    """Four charts, every measure with its query; no script, no address of anybody."""
    evidence = Evidence("7", 0.0, observations=tuple(map(look, range(20))), until=1200.0)
    found = bake.with_reasons(verdict(evidence, Limits(), 20.0))
    write_typed(tmp_path / "evidence.json", evidence)
    for name in ("verdict.json", "self_test.json"):
        write_json_synced(tmp_path / name, found)
    (tmp_path / "events.jsonl").write_text(json.dumps({"at": 0.0, "step": "bake", "said": "<b>"}) + "\n")
    text = page(tmp_path, END, Limits())
    assert text.count("<svg") == 4
    assert "mean 700 ms, limit 500 ms" in text
    assert "flask_http_request_duration_seconds" in text
    assert text.count("<td>advisory</td>") == 2
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    for foreign in ("<script", "http://", "https://", "src=", "@import"):
        assert foreign not in text


def test_a_page_of_a_release_without_a_bake_says_so(tmp_path: Path) -> None:
    """The shadow's numbers are there, and what to do."""
    write_typed(tmp_path / "shadow.json", shadowed(asked(0.7)))
    text = page(tmp_path, END, Limits())
    assert "ended before its bake had a sample" in text
    assert "overlap of the first ten" in text
    assert "700.0 ms" in text
    assert "scripts/deploy.sh release --again" in text
