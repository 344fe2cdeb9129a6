"""On a cluster: the end of each release by Argo Rollouts is kept as evidence, and announced by mail and Slack.

python -m auto_deployment.release.rollout_notices --rollout NAME --folder FOLDER [--api URL] [--account FOLDER]

FOLDER gets `state.json` and a folder for each end: `verdict.json`, `evidence.json`, `events.jsonl`, `end.json`, `report.html`.
A process looks at the Rollout every few seconds until TERM. It may be killed at any time: the next one continues. At the first
start nothing is announced. Exit status 0 after TERM, 2 for wrong arguments or settings.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import ssl
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from pydantic import ValidationError
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager

from app.settings import settings_problem
from auto_deployment.common import logs
from auto_deployment.common.errors import RunError, WrongUseError
from auto_deployment.common.http import internal_session, reason_of
from auto_deployment.common.json_file import read_typed, to_json, write_json_synced, write_synced, write_typed
from auto_deployment.common.prometheus import PrometheusError
from auto_deployment.common.settings import CanarySettings, NotifySettings
from auto_deployment.common.signals import Stop
from auto_deployment.notify import open_channels
from auto_deployment.release import bake
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.announcement import END, Announcer
from auto_deployment.release.argo_rollout import POD_HASH, Analysis, Record, analysis_of, observe, rollout_of, with_verdict
from auto_deployment.release.context import EVENTS
from auto_deployment.release.notices import Advice, subject_of
from auto_deployment.release.state_machine import ReleaseStep
from auto_deployment.release.verdict_service import (
    BASELINE,
    CANDIDATE,
    STARTED,
    BadParameterError,
    NoBakeError,
    NoVerdictError,
    Query,
    WithinTime,
    read_bake,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from auto_deployment.common.prometheus import Source
    from auto_deployment.release.argo_rollout import ArgoRollout, RecordedEnd
    from auto_deployment.release.state import ReleaseEnd

log = logging.getLogger(__name__)

STATE = "state.json"
LOG = "log"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUP = "apis/argoproj.io/v1alpha1"
API_SECONDS = 10.0
POLL_SECONDS = 5.0
# A channel that did not answer is tried again after so long, for a day.
RETRY_SECONDS = 900.0
# After so long without Prometheus an end is announced without its measures.
EVIDENCE_SECONDS = 600.0
# All queries of one bake together: nobody waits for the answer.
QUERIES_SECONDS = 60.0


class ApiError(RunError):
    """The cluster's API gave no object."""


class Settings(CanarySettings, NotifySettings):
    """Those of the verdict's service, and those of mail and Slack."""


@dataclass(frozen=True)
class Api:
    """The API of the cluster, read with a pod's own account: the files `token`, `ca.crt` and `namespace` of a folder."""

    url: str
    account: Path

    @property
    def namespace(self) -> str:
        """The namespace of the account."""
        return self._file("namespace")

    def objects(self, path: str, **parameters: str) -> dict[str, Any]:
        """The object or list at a path below the namespace, such as `rollouts/NAME`. Raises ApiError."""
        url = f"{self.url.rstrip('/')}/{GROUP}/namespaces/{self.namespace}/{path}"
        # The cluster replaces the token every hour.
        header = {"Authorization": f"Bearer {self._file('token')}"}
        try:
            with internal_session() as session:
                if url.startswith("https:"):
                    session.verify = str(self.account / "ca.crt")
                    session.mount(self.url, _by_authority(self.account / "ca.crt"))
                answer = session.get(url, params=parameters, headers=header, timeout=API_SECONDS, allow_redirects=False)
                body = answer.json() if answer.status_code == requests.codes.ok else None
        except requests.JSONDecodeError as error:
            raise ApiError(f"{url}: no JSON: is {self.url} the API server?") from error
        except requests.exceptions.SSLError as error:
            raise ApiError(f"{url}: its certificate is not one of {self.account / 'ca.crt'} ({error})") from error
        except (requests.RequestException, OSError) as error:
            why = reason_of(error) if isinstance(error, requests.RequestException) else str(error)
            raise ApiError(f"{url}: the API server cannot be reached ({why})") from error
        if answer.status_code == requests.codes.not_found:
            raise ApiError(f"{url}: not there: install Argo Rollouts, and the chart with rollout.enabled")
        if not isinstance(body, dict):
            raise ApiError(f"{url}: status {answer.status_code}: the account needs get on rollouts, list on analysisruns")
        return body

    def _file(self, name: str) -> str:
        try:
            return (self.account / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ApiError(f"{self.account / name}: cannot be read: the pod needs a service account's token") from error


def _by_authority(authority: Path) -> HTTPAdapter:
    """Connections whose certificates are checked by a cluster's own authority.

    Python 3.13 refuses authorities without a key usage, and servers without the authority's key identifier. Clusters have such
    certificates, and the other clients of their API, which are written in Go, accept them. Signatures, names and dates count.
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    adapter = HTTPAdapter()
    adapter.poolmanager = PoolManager(ssl_context=context)
    return adapter


@dataclass
class Heartbeat:
    """A file that is touched before each step, for the liveness probe. A failing pod is not `well`: the kubelet restarts it."""

    path: Path | None
    well: bool = True

    def touch(self) -> None:
        """Touch the file where there is one."""
        if self.path is not None and self.well:
            self.path.touch()

    def sleep(self, seconds: float) -> None:
        """Wait between two tries of the channels."""
        self.touch()
        time.sleep(seconds)


class RolloutNotices:
    """The work of the process. `folder` keeps its state and the evidence. `step` is called before each step of minutes."""

    def __init__(
        self,
        api: Api,
        rollout: str,
        folder: Path,
        announcer: Announcer,
        prometheus: Callable[[], Source],
        step: Callable[[], None],
    ) -> None:
        self._api, self._rollout, self._folder = api, rollout, folder
        self._announcer, self._prometheus, self._step = announcer, prometheus, step
        self._tried: dict[str, float] = {}

    def look(self) -> None:
        """Look at the Rollout once, and settle what has ended. Raises RunError or OSError; a later call continues."""
        self._step()
        try:
            self._observe()
        finally:
            # What is known to have ended is announced without the API too.
            self._settle()

    def _observe(self) -> None:
        body = self._api.objects(f"rollouts/{self._rollout}")
        try:
            rollout = rollout_of(body)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ApiError(f"rollouts/{self._rollout}: not a Rollout of Argo Rollouts 1.8 or newer ({error!r})") from error
        if rollout is None:
            return
        record, now = self._record(), self._announcer.now()
        found = observe(record, rollout, self._version_of(rollout), now)
        if found.serving and found.in_service is None:
            found = replace(found, in_service=self._shown(BASELINE))
        if found != record:
            write_typed(self._folder / STATE, found)
            self._log_changes(record, found)
            self._remove_others(found)

    def _version_of(self, rollout: ArgoRollout) -> int:
        """The version of the wanted template: its image's tag, else what Prometheus has of its track, else 0."""
        try:
            return int(Query.of({"version": rollout.image}, 0.0).version)
        except BadParameterError:
            return self._shown(BASELINE if rollout.wanted == rollout.serving else CANDIDATE) or 0

    def _shown(self, track: str) -> int | None:
        """The version of most pods of a track, as Prometheus has it now; None where Prometheus has none."""
        query = f'topk(1, count by (version) ({STARTED.removesuffix("}")}, track="{track}"}}))'
        now = self._announcer.now()
        try:
            series = self._prometheus().over(query, now, now, 1.0)
            return next((int(each.labels["version"]) for each in series), None)
        except (PrometheusError, KeyError, ValueError) as error:
            log.debug("the version of %s is not known (%s)", track, error)
            return None

    @staticmethod
    def _log_changes(before: Record, after: Record) -> None:
        if after.under_way is not None and after.under_way != before.under_way:
            log.info("version %s is under way, by %s", after.under_way.version, after.under_way.who)
        for each in after.ends:
            if each not in before.ends:
                log.info("version %s: %s", each.end.version, each.end.ending)

    def _settle(self) -> None:
        """Write the evidence of each end that lacks it, and announce each end that people were not notified of.

        An end whose files cannot be written holds up no other one. Raises OSError for the last of these ends, and StateError.
        """
        problem = None
        for recorded in [each for each in self._record().ends if not each.has_evidence]:
            self._step()
            try:
                self._write_evidence(recorded)
            except OSError as error:
                problem = error
        for end in [each.end for each in self._record().ends if each.has_evidence and not each.end.notified]:
            self._step()
            try:
                self._announce(end)
            except OSError as error:
                problem = error
        if problem is not None:
            raise problem

    def _announce(self, end: ReleaseEnd) -> None:
        now = self._announcer.now()
        if now - self._tried.get(end.folder, -RETRY_SECONDS) >= RETRY_SECONDS:
            # What cannot be recorded, on a full volume, would be sent again and again.
            self._save(end)
            self._tried[end.folder] = now
            self._announcer.announce(self._folder / end.folder, end, self._save)

    def _write_evidence(self, recorded: RecordedEnd) -> None:
        """Write the evidence of an end, and record it with the verdict's reasons. Without data, a later call tries again."""
        end, folder = recorded.end, self._folder / recorded.end.folder
        is_late = self._announcer.now() - end.ended > EVIDENCE_SECONDS
        analysis = None
        try:
            analysis = self._analysis(recorded)
            if analysis is not None:
                end = self._with_bake(replace(end, began=min(end.began, analysis.started)), analysis, folder)
        except (ApiError, NoVerdictError) as error:
            # Argo got no verdict, and a bake that did not begin by then does not come later.
            never_baked = isinstance(error, NoBakeError) and analysis is not None and not analysis.decision
            if not is_late and not never_baked:
                log.warning("version %s: the evidence is not there yet: %s", end.version, error)
                return
            log.warning("version %s: announced without its measures: %s", end.version, error)
        write_synced(folder / EVENTS, "".join(f"{json.dumps(each)}\n" for each in _events(end, analysis)).encode())
        write_json_synced(folder / END, {**to_json(end), "settings": asdict(self._announcer.limits)})
        self._save(end)
        log.info("%s", subject_of(end))

    def _analysis(self, recorded: RecordedEnd) -> Analysis | None:
        selector = f"{POD_HASH}={recorded.template}"
        items = self._api.objects("analysisruns", labelSelector=selector).get("items", [])
        mine = [
            each
            for each in items
            if self._rollout in {owner.get("name") for owner in each["metadata"].get("ownerReferences", ())}
        ]
        try:
            found = analysis_of(mine, recorded.end.ended)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ApiError(f"analysisruns: not in the form of Argo Rollouts 1.8 or newer ({error!r})") from error
        # Those of an earlier try of the same version are no evidence of this one. Of a promotion that was seen only when it was
        # over, the begin is not known.
        is_known = recorded.end.began < recorded.end.ended
        first = recorded.end.began - 1 if is_known else self._record().last_end(recorded.template, recorded.end.ended)
        return found if found and found.started >= first else None

    def _with_bake(self, end: ReleaseEnd, analysis: Analysis, folder: Path) -> ReleaseEnd:
        """The end with the verdict's reasons. The bake is read from Prometheus as it was at the last measurement."""
        if analysis.measured is None:
            return end
        limits = self._announcer.limits
        try:
            query = Query.of({"version": str(end.version), "since": analysis.since}, analysis.measured)
        except BadParameterError as error:
            log.warning("version %s: the AnalysisRun's arguments cannot be used: %s", end.version, error)
            return end
        # Argo's times are whole seconds, rounded down.
        evidence, found = read_bake(self._prometheus(), query, limits, analysis.measured + 1)
        if analysis.decision and found.decision != analysis.decision:
            log.warning("version %s: Argo got %s, and Prometheus now gives %s", end.version, analysis.decision, found.decision)
        write_typed(folder / bake.EVIDENCE, evidence)
        write_json_synced(folder / bake.VERDICT, bake.with_reasons(found))
        return with_verdict(end, analysis.decision, found.reasons)

    def _record(self) -> Record:
        return read_typed(self._folder / STATE, Record) or Record()

    def _save(self, end: ReleaseEnd) -> None:
        write_typed(self._folder / STATE, self._record().with_end(end))

    def _remove_others(self, record: Record) -> None:
        """Remove the evidence of ends that are no longer recorded, so that the volume does not fill."""
        kept = {each.end.folder for each in record.ends}
        for path in self._folder.glob("*-*Z*"):
            if path.name not in kept:
                shutil.rmtree(path)


def _events(end: ReleaseEnd, analysis: Analysis | None) -> list[dict[str, object]]:
    """The lines of `events.jsonl`: begin, the measurements that Argo keeps, and end."""
    first = (end.began, ReleaseStep.REPLACE, f"release, by {end.who}, replacing version {end.replaces}")
    baked = [] if analysis is None else [(analysis.started, ReleaseStep.BAKE, "the verdict is asked for")]
    measured = [] if analysis is None else [(at, ReleaseStep.BAKE, text) for at, text in analysis.events]
    why = f": {'; '.join(end.reasons)}" if end.reasons else ""
    last = (end.ended, ReleaseStep.END, f"{end.ending}{why}")
    return [{"at": at, "step": step, "said": text} for at, step, text in (first, *baked, *measured, last)]


def advice_for(rollout: str, namespace: str, pod: str) -> Advice:
    """Where evidence is and what to do on a cluster. `evidence` is in the form that `kubectl cp` takes."""
    patch = f"kubectl --namespace {namespace} patch rollout {rollout} --subresource status --type merge --patch"
    # A bake within a minute of the pod's end has the evidence before the abort. The braces are doubled, as in a template.
    return Advice(
        evidence=f"{namespace}/{pod}:{{folder}}/report.html",
        again=f"wait two minutes, then {patch}"
        """ '{{"status":{{"abort":false}}}}'; only if the Rollout still has the image of version {version}""",
    )


def run(notices: RolloutNotices, heartbeat: Heartbeat, is_over: Callable[[], bool], pause: Callable[[], None]) -> None:
    """Look again and again. A problem is logged once, until it changes or ends. Only the API may be away with a heartbeat."""
    problem = ""
    while not is_over():
        try:
            notices.look()
        except (RunError, OSError) as error:
            heartbeat.well = isinstance(error, ApiError)
            if str(error) != problem:
                problem = str(error)
                log.warning("%s: trying again every %g s", problem, POLL_SECONDS)
        else:
            heartbeat.well = True
            if problem:
                log.info("it works again")
            problem = ""
        pause()


def main(arguments: Sequence[str] | None = None) -> int:
    """The process."""
    parser = argparse.ArgumentParser(prog="rollout_notices", description="Announces the ends of releases by Argo Rollouts.")
    parser.add_argument("--rollout", required=True, help="name of the Rollout")
    parser.add_argument("--folder", required=True, type=Path, help="where state and evidence are kept")
    parser.add_argument("--api", help="the API server; default: the pod's own")
    parser.add_argument("--account", type=Path, default=ACCOUNT, help="token, ca.crt and namespace of a service account")
    parser.add_argument("--heartbeat", type=Path, help="a file that is touched before each step, while the work succeeds")
    given = parser.parse_args(arguments)
    try:
        settings = Settings()
        channels = open_channels(settings)
        api = Api(given.api or own_api(os.environ), given.account)
        advice = advice_for(given.rollout, api.namespace, os.environ.get("HOSTNAME", "localhost"))
    except ValidationError as error:
        sys.stderr.write(f"{settings_problem(error)}\n")
        return WrongUseError.status
    except RunError as error:
        sys.stderr.write(f"{error}\n")
        return WrongUseError.status
    stop = Stop()
    logs.configure(given.folder / LOG, "notices", secrets=logs.secrets_of(settings))
    heartbeat = Heartbeat(given.heartbeat)
    announcer = Announcer(channels, Limits.of(settings), time.time, heartbeat.sleep, advice)
    source = partial(WithinTime, settings.prometheus_url, QUERIES_SECONDS)
    notices = RolloutNotices(api, given.rollout, given.folder, announcer, source, heartbeat.touch)
    run(notices, heartbeat, stop.asked, partial(_pause, stop))
    return 0


def own_api(environment: Mapping[str, str]) -> str:
    """The URL of the API server that a cluster gives its pods. Raises WrongUseError."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise WrongUseError("KUBERNETES_SERVICE_HOST: not set: run this in a pod, or give --api")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _pause(stop: Stop) -> None:
    """Wait for the next look; TERM ends the wait."""
    until = time.monotonic() + POLL_SECONDS
    while time.monotonic() < until and not stop.asked():
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
