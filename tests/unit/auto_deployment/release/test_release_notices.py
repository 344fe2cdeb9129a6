"""What people read of a release: notices, status, page, and what a shadow says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common.json_file import write_json_synced
from auto_deployment.release import shadow_result, status
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.evidence import Evidence, Look
from auto_deployment.release.analysis.verdict import verdict
from auto_deployment.release.notices import notice_of, subject_of
from auto_deployment.release.page import page
from auto_deployment.release.probe import Asked
from auto_deployment.release.state import End
from auto_deployment.release.state_machine import Ending

if TYPE_CHECKING:
    from pathlib import Path

END = End(7, Ending.ABORTED, ("mean 700 ms, limit 500 ms",), "ann", 0.0, 900.0, 6, "7-x")
POPULAR = ("a", "b", "c")


def ended(ending: Ending, *reasons: str) -> End:
    """An end of version 7."""
    return End(7, ending, reasons, "ann", 0.0, 900.0, 6, "7-x")


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
def test_every_end_has_a_subject_that_says_it_all(end: End, subject: str) -> None:
    """Value and threshold in it, where there are some."""
    assert subject_of(end) == subject
    assert notice_of(end).subject == subject


def test_a_notice_says_what_serves_and_what_to_do() -> None:
    """With what was measured, who began it, and where the evidence lies."""
    text = notice_of(END, ({"name": "mean", "said": "mean 700 ms, limit 500 ms"},)).text
    for words in ("by ann", "version 6 stays in service", "--again", "report.html", "mean: mean 700 ms"):
        assert words in " ".join(text.split())
    assert "--again" not in notice_of(ended(Ending.PROMOTED)).text


def test_only_a_promotion_is_called_a_deployment() -> None:
    """A version that was published, rolled back to or given up was not deployed successfully."""
    texts = {ending: notice_of(ended(ending)) for ending in Ending}
    assert {ending for ending, notice in texts.items() if "deployed" in notice.subject + notice.text} == {Ending.PROMOTED}
    assert "Version 7 is deployed: every service runs it." in texts[Ending.PROMOTED].text


def asked(seconds: float = 0.002, films: tuple[str, ...] = ("x", "y"), failed: int = 0, count: int = 100) -> list[Asked]:
    """Answers to so many users, of which some failed."""
    return [Asked(user, () if user < failed else films, seconds) for user in range(count)]


def shadowed(one: list[Asked], other: list[Asked] | None = None) -> shadow_result.Shadow:
    """A version beside the one in service."""
    return shadow_result.compared(one, other or asked(), (POPULAR, POPULAR), "recorded", Limits())


def test_an_equal_version_passes_the_shadow() -> None:
    """With all its figures."""
    found = shadowed(asked())
    assert found.reasons == ()
    assert found.overlap == 1.0
    assert "100 requests (recorded): mean 2.0 ms (in service 2.0)" in found.said()


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (asked(0.7), "shadow mean 700 ms, limit 500 ms"),
        (asked(0.05), "shadow mean 50 ms, limit 4 ms, from the version in service"),
        (asked(failed=2), "shadow errors 2 %, limit 0.5 %"),
        (asked(films=POPULAR), "shadow: 100 % popular lists, limit 20 %"),
    ],
)
def test_what_is_clearly_worse_is_refused_with_value_and_limit(one: list[Asked], reason: str) -> None:
    """Before any user has seen it."""
    assert reason in shadowed(one).reasons


def test_other_lists_are_told_and_never_judged() -> None:
    """A new version may well recommend other films; a millisecond is no difference."""
    found = shadowed(asked(0.0035, ("x", "z")))
    assert found.overlap == 0.5
    assert found.reasons == ()


def test_a_service_that_gives_the_popular_list_to_all_may_go_on_doing_so() -> None:
    """It is the change that counts."""
    assert shadowed(asked(films=POPULAR), asked(films=POPULAR)).reasons == ()
    assert shadowed(asked(failed=100)).overlap == 0.0


def told(**more: Any) -> dict[str, Any]:
    """What status gathers."""
    service = {"image": "app:model-6", "since": "1970-01-01T00:00:00.1Z", "healthy": True, "version": 6, "track": "stable"}
    services = {name: {**service, "expected": True, "error": None} for name in ("stable-1", "stable-2")}
    absent = {"image": None, "since": None, "healthy": False, "version": None, "track": None, "expected": False, "error": None}
    rate = {"hits": 0, "count": 2, "low": 0.0, "high": 0.658, "share": 0.0, "promise": 0.01}
    known = {"engine": True, "in_service": 6, "since": 0.5, "under_way": None, "running": None}
    return {**known, "services": {**services, "canary": absent}, "self_test": rate, "taken_back": {}, "last_end": None, **more}


def test_status_is_ten_lines() -> None:
    """What runs where, since when, and that nothing is under way."""
    lines = status.lines_of(told(), 600.0)
    assert len(lines) <= 10
    assert lines[0] == "in service    version 6, since 1970-01-01T00:00:00Z"
    assert lines[1] == "stable-1      version 6, stable, healthy, up 10 min, app:model-6"
    assert lines[3] == "canary        taken out"
    assert "false alarms  0 of 2 (0.0% to 65.8%), promised at most 1%" in lines


def test_status_tells_of_a_release_and_of_its_bake() -> None:
    """The step, how long it bakes yet, who runs it, and the evidence so far."""
    rollout = {"kind": "release", "version": 7, "step": "bake", "began": 0.0, "minutes_left": 30.0}
    older = {"said": "mean 2 ms, limit 500 ms", "outcome": "within"}
    readings = [older, {"said": "memory: no figures, no such series", "outcome": "no data", "required": False}]
    text = "\n".join(status.lines_of(told(under_way={**rollout, "verdict": {"end": "baking", "readings": readings}}), 600.0))
    assert "release of version 7: bake, 30 min left, since 1970-01-01T00:00:00Z (10 min)" in text
    assert "NOBODY RUNS IT: scripts/deploy.sh resume" in text
    assert "baking: mean 2 ms, limit 500 ms (within); memory: no figures, no such series (no data, advisory)" in text


def test_status_tells_what_is_missing_and_what_was_taken_back() -> None:
    """A service that should be there is no secret."""
    services = told()["services"]
    missing = {**services, "stable-1": {**services["canary"], "expected": True}}
    end = {"version": 7, "ending": "aborted", "ended": 0.0, "who": "ann", "reasons": ["mean 700 ms"]}
    text = "\n".join(status.lines_of(told(services=missing, taken_back={"7": "aborted"}, last_end=end), 600.0))
    assert "stable-1      MISSING: docker compose up -d stable-1" in text
    assert "taken back    7 (aborted)" in text
    assert "version 7 aborted at 1970-01-01T00:00:00Z, by ann: mean 700 ms" in text


def test_status_without_an_engine_claims_nothing_of_a_service() -> None:
    """One line says so; no service is called missing."""
    services = told()["services"]
    silent = {name: {**each, "since": None, "error": "docker compose: Cannot connect"} for name, each in services.items()}
    lines = status.lines_of(told(services=silent, engine=False), 600.0)
    assert [line for line in lines if "engine" in line] == [
        "services      no Docker engine answers: what runs is not known. Start Docker, or run scripts/dev engine"
    ]
    assert not [line for line in lines if "MISSING" in line or "taken out" in line]


def test_status_names_why_a_service_is_not_known() -> None:
    """The engine answers, and its client refused the question."""
    services = told()["services"]
    refused = {**services, "canary": {**services["canary"], "error": "docker compose ps: no such file\nmore"}}
    lines = status.lines_of(told(services=refused), 600.0)
    assert "canary        not known: docker compose ps: no such file" in lines


def look(number: int) -> Look:
    """A look at three services alike."""
    counters = {"le 0.1": 90.0, "le 0.5": 99.0, "le +Inf": 100.0, "seconds": 5.0, "try 2xx": 100.0, "try 5xx": 1.0}
    return Look(60.0 * number, dict.fromkeys(("canary", "stable-1", "stable-2"), counters))


def test_a_page_shows_the_bake_and_needs_no_network(tmp_path: Path) -> None:
    """Four charts, every measure with its query; no script, no address of anybody."""
    evidence = Evidence("7", 0.0, looks=tuple(map(look, range(20))), until=1200.0)
    judged = verdict(evidence, Limits(), 20.0).to_dict()
    write_json_synced(tmp_path / "evidence.json", evidence.to_dict())
    for name in ("verdict.json", "self_test.json"):
        write_json_synced(tmp_path / name, judged)
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
    write_json_synced(tmp_path / "shadow.json", shadowed(asked(0.7)).to_dict())
    text = page(tmp_path, END, Limits())
    assert "ended before its bake had a sample" in text
    assert "overlap of the first ten" in text
    assert "700.0 ms" in text
    assert "scripts/deploy.sh release --again" in text
