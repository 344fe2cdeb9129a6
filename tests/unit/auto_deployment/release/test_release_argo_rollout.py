"""What follows from a Rollout of Argo Rollouts: what is under way, and each end once."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auto_deployment.common.json_file import read_typed, write_typed
from auto_deployment.common.time_format import utc
from auto_deployment.release.argo_rollout import POD_HASH, Record, analysis_of, observe, rollout_of, with_verdict
from auto_deployment.release.notices import notice_of
from auto_deployment.release.rollout_notices import advice_for
from auto_deployment.release.state import ReleaseEnd
from auto_deployment.release.state_machine import Ending
from tests import argo

BEFORE = argo.rollout(6, "six", "six", 100)
BAKING = argo.rollout(7, "seven", "six", 200)
PROMOTED = argo.rollout(7, "seven", "seven", 900)
WHY = 'Step-based analysis phase error/failed: Metric "verdict" assessed Failed due to failed (1) > failureLimit (0)'
ABORTED = argo.aborted(7, "seven", "six", 200, 500, WHY)
CRASHED = argo.aborted(7, "seven", "six", 200, 800, 'ReplicaSet "movierec-service-seven" has timed out progressing.')


def after(*bodies: dict[str, Any], record: Record | None = None, now: float = 1000.0) -> Record:
    """The record after these looks. The version is that of the image's tag."""
    record = record or Record()
    for body in bodies:
        rollout = rollout_of(body)
        if rollout is not None:
            record = observe(record, rollout, int(re.split("[-:]", rollout.image)[-1]), now)
    return record


def ends(record: Record) -> list[ReleaseEnd]:
    """The ends of a record."""
    return [each.end for each in record.ends]


def test_a_promotion_is_an_end_once() -> None:
    """With begin and end of the API, and who changed the template."""
    record = after(BEFORE, BAKING, BAKING, PROMOTED, PROMOTED)
    (end,) = ends(record)
    assert (end.version, end.ending, end.reasons, end.replaces) == (7, Ending.PROMOTED, (), 6)
    assert (end.began, end.ended, end.who) == (200.0, 900.0, "helm")
    assert end.folder == "7-19700101T000320Z"
    assert (record.in_service, record.serving, record.under_way) == (7, "seven", None)


def test_a_promotion_has_ended_when_every_pod_is_there() -> None:
    """The template serves already, and the last pods are still replaced."""
    late = argo.rollout(7, "seven", "seven", 900, phase="Progressing")
    assert ends(after(BEFORE, BAKING, late)) == []
    assert len(ends(after(BEFORE, BAKING, late, PROMOTED))) == 1


def test_an_abort_by_the_verdict_is_an_end_once() -> None:
    """Its reason is Argo's, until the verdict is read."""
    (end,) = ends(after(BEFORE, BAKING, ABORTED, ABORTED))
    assert (end.ending, end.reasons, end.ended, end.replaces) == (Ending.ABORTED, (WHY,), 500.0, 6)
    aborted = with_verdict(end, "fail", ["mean 700 ms, limit 500 ms"])
    assert (aborted.ending, aborted.reasons) == (Ending.ABORTED, ("mean 700 ms, limit 500 ms",))
    thin = with_verdict(end, "inconclusive", ["requests: 3, needed 500 (too few)"])
    assert (thin.ending, thin.reasons) == (Ending.INCONCLUSIVE, ("requests: 3, needed 500 (too few)",))
    assert with_verdict(end, "baking", ["too few"]) == end
    assert with_verdict(end, "fail", []).reasons == (WHY,)


def test_a_canary_that_never_becomes_ready_is_aborted() -> None:
    """As on a server: the step, and what happened. The time-out that precedes the abort is no end of its own."""
    reason = ("ProgressDeadlineExceeded", 'ReplicaSet "movierec-service-seven" has timed out progressing.', 800)
    late = argo.rollout(7, "seven", "six", 200, progressing=reason, phase="Degraded")
    (end,) = ends(after(BEFORE, BAKING, late, CRASHED))
    assert end.ending == Ending.ABORTED
    assert end.reasons == ('replace the canary: ReplicaSet "movierec-service-seven" has timed out progressing.',)


def test_an_operator_who_aborts_is_the_reason() -> None:
    """Argo does not know who."""
    (end,) = ends(after(BEFORE, BAKING, argo.aborted(7, "seven", "six", 200, 500)))
    assert (end.ending, end.reasons) == (Ending.ABORTED, ("an operator asked for it",))


def test_a_retry_has_an_end_of_its_own() -> None:
    """Its folder is another, and it began after the abort."""
    first, second = ends(after(BEFORE, BAKING, ABORTED, BAKING, PROMOTED))
    assert (first.ending, second.ending) == (Ending.ABORTED, Ending.PROMOTED)
    assert (second.began, second.folder != first.folder) == (500.0, True)
    again = argo.aborted(7, "seven", "six", 200, 700, WHY)
    assert [each.ended for each in ends(after(BEFORE, ABORTED, again))] == [500.0, 700.0]


def test_a_newer_version_supersedes_the_one_under_way() -> None:
    """And what is set back is aborted."""
    newer = argo.rollout(8, "eight", "six", 200, written=300)
    first, second = ends(after(BEFORE, BAKING, newer, argo.rollout(8, "eight", "eight", 900)))
    assert (first.version, first.ending, first.reasons) == (7, Ending.SUPERSEDED, ("version 8 came, by helm",))
    assert (second.version, second.ending, second.replaces) == (8, Ending.PROMOTED, 6)
    assert [(each.began, each.ended) for each in (first, second)] == [(200.0, 300.0), (300.0, 900.0)]
    (end,) = ends(after(BEFORE, BAKING, argo.rollout(6, "six", "six", 300)))
    assert (end.version, end.ending, end.reasons) == (7, Ending.ABORTED, ("version 6 was set again, by helm",))
    assert ends(after(BEFORE, ABORTED, argo.rollout(6, "six", "six", 600)))[1:] == []


def test_a_version_after_an_abort_begins_when_its_template_was_set() -> None:
    """Argo's condition keeps its time until the next promotion."""
    newer = argo.rollout(8, "eight", "six", 200, written=600)
    stopped = argo.aborted(8, "eight", "six", 200, 700, WHY, written=600)
    for bodies in ((ABORTED, newer, stopped), (ABORTED, stopped), (BAKING, newer, stopped), (BAKING, stopped)):
        _, end = ends(after(BEFORE, *bodies))
        assert (end.version, end.began, end.ended, end.folder) == (8, 600.0, 700.0, "8-19700101T001000Z")
    for body in (newer, stopped):
        del body["metadata"]["managedFields"]
    first, end = ends(after(BEFORE, ABORTED, newer, stopped))
    assert (end.version, end.began, end.who) == (8, first.ended, "unknown")


def test_two_templates_of_one_version_have_folders_of_their_own() -> None:
    """The pods were changed twice within a second, or the time of the change is not known."""
    other = argo.aborted(7, "seven-b", "six", 200, 500, WHY)
    first, second = ends(after(BEFORE, BAKING, other))
    assert (first.ending, first.folder) == (Ending.SUPERSEDED, "7-19700101T000320Z")
    assert (second.ending, second.folder) == (Ending.ABORTED, "7-19700101T000320Z-seven-b")


def test_an_older_version_that_is_promoted_is_a_rollback() -> None:
    """Its notice has the words of one."""
    record = after(
        argo.rollout(7, "seven", "seven", 100), argo.rollout(6, "six", "seven", 200), argo.rollout(6, "six", "six", 300)
    )
    (end,) = ends(record)
    assert (end.ending, end.version, end.replaces) == (Ending.ROLLED_BACK, 6, 7)
    assert notice_of(end).subject == "movierec: rolled back to version 6 from 7"


def test_the_first_look_reports_nothing_that_is_over() -> None:
    """Neither an installation, nor a promotion or an abort of before. What is under way then has an end later."""
    installing = argo.rollout(6, "six", "", 0)
    for body in (BEFORE, PROMOTED, ABORTED, CRASHED):
        assert ends(after(body, body)) == []
    assert ends(after(installing, installing, BEFORE)) == []
    assert after(installing) == Record()
    (end,) = ends(after(BAKING, ABORTED))
    assert (end.version, end.replaces) == (7, 0)
    (end,) = ends(after(ABORTED, argo.rollout(8, "eight", "six", 200, written=600), argo.rollout(8, "eight", "eight", 700)))
    assert end.version == 8


def test_another_installation_is_no_release() -> None:
    """The volume of the one before is still there. Its ends stay."""
    again = argo.rollout(8, "eight", "eight", 600)
    again["metadata"]["uid"] = "another"
    record = after(BEFORE, BAKING, ABORTED, again)
    assert [each.version for each in ends(record)] == [7]
    assert (record.in_service, record.serving, record.uid) == (8, "eight", "another")


def test_a_release_between_two_looks_is_not_lost() -> None:
    """Promoted or aborted, while the process was away."""
    (end,) = ends(after(BEFORE, PROMOTED))
    assert (end.version, end.ending, end.replaces, end.ended) == (7, Ending.PROMOTED, 6, 900.0)
    (end,) = ends(after(BEFORE, ABORTED))
    assert (end.version, end.ending, end.began, end.ended) == (7, Ending.ABORTED, 200.0, 500.0)
    first, _ = ends(after(BEFORE, BAKING, argo.rollout(8, "eight", "seven", 950), argo.rollout(8, "eight", "eight", 990)))
    assert (first.version, first.ending) == (7, Ending.PROMOTED)


def test_what_the_controller_has_not_seen_is_not_looked_at() -> None:
    """Its status is that of the template before."""
    unseen = argo.rollout(7, "six", "six", 100)
    unseen["metadata"]["generation"] = 4
    assert rollout_of(unseen) is None
    with pytest.raises(KeyError):
        rollout_of({"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": "1"}})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """With what is under way and all ends; a later form of an end takes its place."""
    record = after(BEFORE, ABORTED, argo.rollout(8, "eight", "six", 200, written=600))
    write_typed(tmp_path / "state.json", record)
    assert read_typed(tmp_path / "state.json", Record) == record
    (end,) = ends(record)
    changed = record.with_end(replace(end, notified=True))
    assert [(each.end.notified, each.has_evidence) for each in changed.ends] == [(True, True)]
    assert [each.has_evidence for each in record.ends] == [False]


def test_the_last_analysis_before_the_end_counts() -> None:
    """Its last value decides; a measurement that failed decides nothing."""
    one = argo.analysis("seven", 7, 210, (270, "Inconclusive", "baking"), (330, "Failed", "fail"))
    two = argo.analysis("seven", 7, 600, (660, "Error", ""), number=2)
    found = analysis_of([two, one, {"metadata": {}}], 500)
    assert found is not None
    assert (found.started, found.decision, found.measured, found.since) == (210.0, "fail", 330.0, "")
    assert found.events == ((270.0, "baking"), (330.0, "fail"))
    late = analysis_of([two, one], 700)
    assert late is not None
    assert (late.decision, late.measured, late.events) == ("", 660.0, ((660.0, "Error"),))
    assert analysis_of([one], 100) is None


@pytest.mark.parametrize("ending", [each for each in Ending if each != Ending.FAILED])
def test_texts_are_those_of_a_server_but_for_place_and_commands(ending: Ending) -> None:
    """Line by line, in subject and text."""
    end = ReleaseEnd(7, ending, ("mean 700 ms, limit 500 ms",), "helm", 0.0, 900.0, 6, "7-19700101T000000Z")
    server, cluster = notice_of(end), notice_of(end, (), advice_for(argo.NAME, argo.NAMESPACE, "movierec-notices-0"))
    assert cluster.subject == server.subject
    text = cluster.whole[1].replace("movierec/movierec-notices-0:", ".stack/release/")
    again = """ --subresource status --type merge --patch '{"status":{"abort":false}}'"""
    again = f"wait two minutes, then kubectl --namespace movierec patch rollout movierec-service{again}"
    again = f"{again}; only if the Rollout still has the image of version 7"
    assert text.replace(again, "scripts/deploy.sh release --again, while data/version.txt says 7") == server.whole[1]
    assert "evidence  movierec/movierec-notices-0:7-19700101T000000Z/report.html\n" in cluster.text
    assert "deploy.sh" not in cluster.text
    assert ".stack" not in cluster.text


def test_looks_at_a_real_rollout_give_its_ends() -> None:
    """As recorded from the API of Kubernetes 1.35: version 4 fails and is aborted, 2 is set again, then 3 is aborted.

    At one look the controller has not seen the new image yet. Version 4 had been aborted before, and that run is another one.
    """
    recorded = json.loads((Path(__file__).parent / "argo_recorded.json").read_text())
    record = after(*recorded["looks"])
    first, second = ends(record)
    assert (first.version, first.ending, first.replaces, first.who) == (4, Ending.ABORTED, 2, "kubectl-patch")
    assert (second.version, second.ending, second.replaces) == (3, Ending.ABORTED, 2)
    assert (utc(first.began), utc(first.ended)) == ("2026-11-29T12:13:26Z", "2026-11-29T12:14:06Z")
    assert first.reasons == (
        'Step-based analysis phase error/failed: Metric "verdict" assessed Failed due to failed (1) > failureLimit (0)',
    )
    (template,) = [each.template for each in record.ends if each.end == first]
    runs = [each for each in recorded["runs"] if each["metadata"]["labels"][POD_HASH] == template]
    found = analysis_of(runs, first.ended)
    assert found is not None
    assert (utc(found.started), found.decision, found.since) == ("2026-11-29T12:13:31Z", "fail", "")
    assert [text for _, text in found.events] == ["received non 2xx response code: 503"] * 2 + ["baking"] * 3 + ["fail"]
