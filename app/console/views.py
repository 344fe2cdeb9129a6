"""The pages. Each is read anew at each request, from sources that may be away: then a page says what is missing."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Flask, abort, render_template, request, url_for

from app.console import charts, overview
from app.console.problems import Found, ProblemError, attempt
from app.console.records import Chain, Event, ReleaseState, Report, Shadow, Verdict, record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.console.answers import Answers
    from app.console.charts import Chart, Curve
    from app.console.host_files import HostFiles
    from app.console.prometheus import Prometheus
    from app.console.records import WatchedGroup

REFRESH_SECONDS = 15
OVERVIEW_SECONDS = 3 * 3600.0
VERSIONS_A_PAGE = 50
VERSION_LIMIT = 10**9
ENDS_A_PAGE = 50
LAST_USERS = 20
USER = re.compile(r"[0-9]{1,19}")
USER_LIMIT = 2**63
# The id of an answer or of a request.
ANSWER = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A/A: the false alarms that a release promises at most, see docs/release.md.
PROMISE = 0.01
CANARY = "canary"
# Endings of a release that leave the canary out.
TAKEN_OUT = ("aborted", "inconclusive")


class Sources(NamedTuple):
    """Where pages read. `prometheus` is None where no METRICS_URL is set."""

    prometheus: Prometheus | None
    files: HostFiles
    answers: Answers


def add_pages(app: Flask, sources: Sources, now: Callable[[], float] = time.time) -> None:
    """Add the pages to `app`."""
    pages = _Pages(sources, now)
    app.add_url_rule("/", "overview", pages.overview)
    app.add_url_rule("/release", "release", pages.release)
    app.add_url_rule("/release/<folder>", "ended_release", pages.ended_release)
    app.add_url_rule("/versions", "versions", pages.versions)
    app.add_url_rule("/versions/<int:number>", "version", pages.version)
    app.add_url_rule("/answers", "answers", pages.answers)
    app.add_url_rule("/answers/<answer>", "answer", pages.answer)
    app.add_url_rule("/settings", "settings", pages.settings)
    app.add_url_rule("/healthz", "healthz", lambda: ("ok", {"Content-Type": "text/plain; charset=utf-8"}))


class _Pages:
    def __init__(self, sources: Sources, now: Callable[[], float]) -> None:
        self._files = sources.files
        self._prometheus = sources.prometheus
        self._answers = sources.answers
        self._now = now

    def overview(self) -> str:
        """What runs, what clients get, the pipeline, stores and alerts."""
        now, metrics = self._now(), self._metrics()
        services, state = attempt(lambda: overview.running_services(metrics())), attempt(self._state)
        in_service = None if state.value is None else state.value.in_service
        return self._page(
            "overview.html",
            alerts=attempt(lambda: metrics().alerts()),
            services=services,
            served=attempt(lambda: overview.served(self._answers.latest())) if services.problem else None,
            clients=attempt(lambda: overview.figures(metrics(), overview.CLIENTS)),
            kinds=attempt(lambda: overview.kinds(metrics())),
            pipeline=attempt(lambda: overview.figures(metrics(), overview.PIPELINE)),
            stores=attempt(lambda: overview.figures(metrics(), overview.STORES)),
            charts=self._charts(metrics, charts.CLIENTS, now - OVERVIEW_SECONDS, now),
            state=state,
            withdrawn=_withdrawn(state.value),
            reported=in_service in (attempt(self._files.version_numbers).value or []),
        )

    def release(self) -> str:
        """The release under way, and how earlier ones ended."""
        now, found = self._now(), attempt(self._state)
        state = found.value
        under_way = None if state is None else state.under_way
        bake = None if under_way is None else attempt(lambda: self._verdict(under_way.folder, "verdict.json"))
        return self._page(
            "release.html",
            state=found,
            under_way=under_way,
            verdict=bake,
            minutes_to_go=self._minutes_to_go(under_way.bake_began, now) if under_way else None,
            self_test=None if under_way is None else attempt(lambda: self._verdict(under_way.folder, "self_test.json")),
            shadow=None if under_way is None else attempt(lambda: self._shadow(under_way.folder)),
            events=None if under_way is None else attempt(lambda: self._events(under_way.folder)),
            charts=None if under_way is None else self._charts(self._metrics(), charts.CANARY, under_way.began, now),
            ends=[] if state is None else list(reversed(state.ends))[:ENDS_A_PAGE],
            false_alarms=_false_alarms(state),
            promise=PROMISE,
        )

    def ended_release(self, folder: str) -> str:
        """One release that has ended."""
        state = attempt(self._state)
        ends = () if state.value is None else state.value.ends
        end = next((each for each in ends if each.folder == folder), None)
        if end is None:
            abort(404)
        return self._page(
            "ended_release.html",
            end=end,
            verdict=attempt(lambda: self._verdict(folder, "verdict.json")),
            self_test=attempt(lambda: self._verdict(folder, "self_test.json")),
            shadow=attempt(lambda: self._shadow(folder)),
            events=attempt(lambda: self._events(folder)),
            charts=self._charts(self._metrics(), charts.CANARY, end.began, end.ended),
        )

    def versions(self) -> str:
        """All versions, a page at a time, newest first."""
        numbers = attempt(self._files.version_numbers)
        listed = numbers.value or []
        pages = max(1, -(-len(listed) // VERSIONS_A_PAGE))
        page = min(max(1, request.args.get("page", 1, int)), pages)
        shown = listed[(page - 1) * VERSIONS_A_PAGE : page * VERSIONS_A_PAGE]
        # A version's watched share is in the report of the version after it.
        reports = {number: self._try_report(number) for number in {*_after(listed, shown), *shown}}
        return self._page(
            "versions.html",
            numbers=numbers,
            reports={number: reports[number] for number in shown},
            watched={number: _watched(number, listed, reports) for number in shown},
            state=attempt(self._state),
            page=page,
            pages=pages,
        )

    def version(self, number: int) -> str:
        """One version, or two side by side."""
        other = request.args.get("with", None, int)
        if max(number, other or 0) >= VERSION_LIMIT:
            abort(404)
        chosen = [number] if other is None or other == number else [number, other]
        reports = {each: self._try_report(each) for each in chosen}
        if all(each.value is None and each.problem is None for each in reports.values()):
            abort(404)
        numbers = attempt(self._files.version_numbers).value or []
        later = {each: self._try_report(each) for each in _after(numbers, chosen)}
        return self._page(
            "version.html",
            reports=reports,
            watched={each: _watched(each, numbers, later) for each in chosen},
            numbers=numbers[:200],
            chosen=chosen,
            state=attempt(self._state),
        )

    def answers(self) -> str:
        """The answers to a user, and the history that they were made from."""
        text = request.args.get("user", "").strip()
        user = int(text) if USER.fullmatch(text) and int(text) < USER_LIMIT else None
        found = None if user is None else attempt(lambda: self._answers.to_user(user))
        given = (found.value if found else None) or []
        chains = {each.answer_id: chain for each in given if (chain := self._try_chain(each.answer_id).value) is not None}
        # Answers with the same digest have the same films.
        films = {each.digest: chain.answer.films for each in given if (chain := chains.get(each.answer_id)) and chain.answer}
        return self._page(
            "answers.html",
            text=text,
            user=user,
            answers=found,
            films=films,
            chain=next(iter(chains.values()), None),
            last_users=attempt(lambda: self._answers.last_users(LAST_USERS)) if not text else None,
        )

    def answer(self, answer: str) -> str:
        """One answer, and the chain behind it."""
        if not ANSWER.fullmatch(answer):
            abort(404)
        row = attempt(lambda: self._answers.one(answer))
        chain = self._try_chain(row.value.answer_id if row.value else answer)
        if row.value is None and row.problem is None and chain.value is None:
            abort(404)
        return self._page("answer.html", answer=answer, row=row, chain=chain)

    def settings(self) -> str:
        """The settings in force on the host side."""
        return self._page("settings.html", settings=attempt(self._files.settings))

    def _page(self, template: str, **values: Any) -> str:  # noqa: ANN401 - whatever a template needs
        return render_template(template, now=self._now(), refresh=REFRESH_SECONDS, home=url_for("overview"), **values)

    def _metrics(self) -> Callable[[], Prometheus]:
        """What returns the Prometheus of one page, or raises ProblemError."""
        page = None if self._prometheus is None else self._prometheus.for_page()

        def metrics() -> Prometheus:
            if page is None:
                raise ProblemError(
                    "there is no Prometheus here, as in the demo, so no alert is known", "set METRICS_URL for the console"
                )
            return page

        return metrics

    @staticmethod
    def _charts(metrics: Callable[[], Prometheus], curves: Sequence[Curve], start: float, end: float) -> Found[list[Chart]]:
        return attempt(lambda: charts.draw(metrics(), curves, start, end))

    def _state(self) -> ReleaseState | None:
        found = self._files.release_state()
        return None if found is None else record_of(ReleaseState, found, "the state of releases")

    def _verdict(self, folder: str, name: str) -> Verdict | None:
        found = self._files.of_release(folder, name)
        return None if found is None else record_of(Verdict, found, name)

    def _shadow(self, folder: str) -> Shadow | None:
        found = self._files.of_release(folder, "shadow.json")
        return None if found is None else record_of(Shadow, found, "shadow.json")

    def _events(self, folder: str) -> list[Event]:
        return [record_of(Event, each, "an event") for each in self._files.events(folder)]

    def _try_report(self, number: int) -> Found[Report | None]:
        def read() -> Report | None:
            found = self._files.report(number)
            return None if found is None else record_of(Report, found, f"the report of version {number}")

        return attempt(read)

    def _try_chain(self, answer: str) -> Found[Chain | None]:
        def read() -> Chain | None:
            found = self._files.why(answer)
            return None if found is None else record_of(Chain, found, f"the chain of answer {answer}")

        return attempt(read)

    def _minutes_to_go(self, bake_began: float | None, now: float) -> float | None:
        """The minutes until a good canary is promoted, where the host side has written how long a bake is."""
        wanted = (attempt(self._files.settings).value or {}).get("CANARY_BAKE_MINUTES")
        if bake_began is None or not isinstance(wanted, int | float):
            return None
        return max(0.0, wanted - (now - bake_began) / 60)


def _after(listed: Sequence[int], shown: Sequence[int]) -> list[int]:
    """The version after each of `shown`, where there is one."""
    ascending = sorted(listed)
    return [after for before, after in pairwise(ascending) if before in shown]


def _watched(number: int, listed: Sequence[int], reports: dict[int, Found[Report | None]]) -> WatchedGroup | None:
    """The watched share of a version by the first later report that has one."""
    for later in sorted(each for each in listed if each > number):
        found = reports.get(later)
        if found is None:
            return None
        if found.value is not None and (group := found.value.watched(number)) is not None:
            return group
    return None


def _withdrawn(state: ReleaseState | None) -> str:
    """The service that a release has taken out, and left out; an empty text where there is none."""
    if state is None or state.under_way is not None or not state.ends:
        return ""
    return CANARY if state.ends[-1].ending in TAKEN_OUT else ""


def _false_alarms(state: ReleaseState | None) -> tuple[int, int]:
    """How many self-tests were false alarms, and how many there were."""
    results = [] if state is None else [each.false_alarm for each in state.ends if each.false_alarm is not None]
    return sum(results), len(results)
