"""A release run to its end on a fake stack: in which order it acts, what it undoes, and that a kill changes no end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from app.model import FORMAT
from auto_deployment.common.process import CommandError
from auto_deployment.common.prometheus import UnreachableError
from auto_deployment.common.settings import Settings
from auto_deployment.common.signals import StoppedError
from auto_deployment.notify import NotifyError
from auto_deployment.release import preflight
from auto_deployment.release.completion import settle
from auto_deployment.release.context import ReleaseContext
from auto_deployment.release.controller import Controller
from auto_deployment.release.operator_requests import pending, submit
from auto_deployment.release.probe import UnhealthyError
from auto_deployment.release.services import FIRST, SERVICES, Slot
from auto_deployment.release.shadow_result import AnswerMetrics, ShadowResult
from auto_deployment.release.state import FOLDER, INITIAL, ReleaseEnd, ReleaseState, load, save
from auto_deployment.release.state_machine import Ending, OperatorRequest, ReleaseStep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from auto_deployment.common.prometheus import Series
    from auto_deployment.notify import Notice
    from auto_deployment.release.services import Slots
    from auto_deployment.release.state_machine import Rollout

ORDINARY = AnswerMetrics(100, 0.0, 0.0, 0.002, 0.004)


class KilledError(BaseException):
    """Nothing catches it, as nothing catches a kill."""


class FakeStack:
    """Remembers what services run and whom NGINX asks; `on_act` may break or kill an act, by its name and target."""

    docker, repository = "docker", "app"

    def __init__(self) -> None:
        self.runs: dict[str, Slot | None] = dict(FIRST)
        self.asked: set[str] = set(SERVICES)
        self.images: dict[str, str] = {"stable": "sha256:6", "model-6": "sha256:6"}
        self.sick: set[str] = set()
        self.shadows: set[str] = set()
        self.fresh_as_of: Callable[[str], float | None] = lambda _service: None
        self.acts: list[str] = []
        self.built: dict[str, str] = {}
        self.context = Path()
        self.on_act: Callable[[str], None] = lambda _act: None

    def _act(self, act: str) -> None:
        self.acts.append(act)
        self.on_act(act)

    def run(self, command: list[str], seconds: float = 60.0) -> str:
        """Run a command; a build makes an image."""
        del seconds
        self._act(command[1])
        if command[1] == "build":
            self.context = Path(command[-1])
            self.built = {path.relative_to(self.context).as_posix(): path.read_text() for path in self.context.rglob("*.[tj]*")}
            self.images["model-7"] = "sha256:7"
        if command[1:3] == ["image", "rm"]:
            del self.images[command[3].removeprefix("app:")]
        if command[1] == "rm":
            self.shadows.difference_update(command[4:])
        return ""

    def container(self, service: str) -> SimpleNamespace | None:
        """A service's container; it has a name."""
        return None if self.runs[service] is None else SimpleNamespace(name=f"movierec-{service}-1")

    def tags(self) -> set[str]:
        """The images that there are."""
        self._act("tags")
        return set(self.images)

    def image_id(self, tag: str) -> str | None:
        """An image by its tag."""
        return self.images.get(tag)

    def tag(self, image: str, tag: str) -> None:
        """Name an image."""
        self.images[tag] = image

    def replace(self, service: str, slots: Slots) -> None:
        """Replace a service that nobody asks."""
        self._act(f"replace {service}")
        assert service not in self.asked, f"{service} is replaced while it is asked"
        assert len(self.asked) >= 1
        self.runs[service] = slots[service]
        self.sick.discard(service)

    def remove(self, service: str, slots: Slots) -> None:
        """Remove one that nobody asks."""
        self._act(f"remove {service}")
        assert service not in self.asked
        assert slots[service] is None
        self.runs[service] = None

    def smoke(self, service: str, version: int, track: str) -> None:
        """It runs what it should."""
        self._act(f"smoke {service}")
        slot = self.runs[service]
        assert slot is not None
        assert (self.images[slot.tag], slot.track) == (f"sha256:{version}", track)

    def route(self, slots: Slots, down: Collection[str] = (), *, drain: bool = True) -> None:
        """Ask those that are there and not down."""
        self._act(f"route without {' '.join(sorted(down)) or 'nobody'}")
        assert drain or set(down) <= self.sick
        self.asked = {name for name in SERVICES if slots[name] is not None} - set(down)
        assert all(self.runs[name] is not None for name in self.asked)

    def withdraw(self, slots: Slots, down: Collection[str] = ()) -> None:
        """The same, in the end."""
        self.route(slots, down)

    def unhealthy(self, slots: Slots) -> set[str]:
        """Those that got sick."""
        return {name for name in self.sick if slots[name] is not None}


class Silence:
    """A Prometheus that is away."""

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Say so."""
        raise UnreachableError(f"away, {query} from {start} to {end} by {step}")


class Mailbox:
    """Keeps what people are told, unless it is away."""

    def __init__(self, name: str = "mailbox") -> None:
        self.name = name
        self.is_away = False
        self.subjects: list[str] = []

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Keep it."""
        return lambda: self._take(notice)

    def _take(self, notice: Notice) -> None:
        if self.is_away:
            raise NotifyError("away")
        self.subjects.append(notice.subject)


class NoStop:
    """Nobody stops the run."""

    def check(self) -> None:
        """Go on."""


class Site:
    """A checkout with version 7 in its tree while version 6 serves, and a clock that sleeping moves, and `clock_set_by`."""

    def __init__(self, root: Path) -> None:
        self.stack, self.mailbox, self.time, self.clock_set_by = FakeStack(), Mailbox(), 1_000_000.0, 0.0
        self.reasons: tuple[str, ...] = ()
        (root / "data" / "model").mkdir(parents=True)
        (root / "data" / "version.txt").write_text("7\n")
        metadata: dict[str, object] = {"format": FORMAT, "version": 7, "arrays": {}}
        (root / "data" / "model" / "metadata.json").write_text(json.dumps(metadata))
        settings = Settings(
            data_dir=root / "data",
            log_dir=root / "logs",
            canary_bake_minutes=1,
            canary_max_bake_minutes=2,
            canary_check_seconds=10,
        )
        stack: Any = self.stack
        self.tools = ReleaseContext(
            settings,
            root,
            root / FOLDER,
            stack,
            Silence(),
            [self.mailbox],
            self.shadow,
            lambda: self.time + self.clock_set_by,
            lambda: self.time - 900_000.0,
            self.sleep,
        )
        save(self.tools.folder, replace(INITIAL, in_service=6, since=1.0, served=(5,)))

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.time += seconds

    def shadow(self, context: ReleaseContext, rollout: Rollout, look: Callable[[], None]) -> ShadowResult:
        """What the shadow shows, if it is not ended before."""
        del context, rollout
        self.stack.shadows |= {"movierec-shadow-new", "movierec-shadow-old"}
        self.stack._act("shadow")
        look()
        self.stack.shadows.clear()
        return ShadowResult(ORDINARY, ORDINARY, 1.0, "recorded", self.reasons)

    @property
    def state(self) -> ReleaseState:
        """As it is on the disk."""
        return load(self.tools.folder)

    def put_under_way(self, kind: str = "release") -> None:
        """As the command does it."""
        state = self.state
        if kind == "release":
            preflight._under_way(self.tools, state, "release", 7, "ann")
        else:
            self.stack.images["model-5"] = "sha256:5"
            preflight.rollback(self.tools, None, "ann")

    def run(self) -> Ending:
        """Run what is under way; or what an end that is recorded has left to do, as the command does."""
        stop: Any = NoStop()
        if self.state.under_way is None:
            settle(self.tools)
            return self.state.ends[-1].ending
        return Controller(self.tools, stop).run().ending

    def action(self, action: Any, version: int = 0) -> None:
        """Leave a request."""
        submit(self.tools.folder, OperatorRequest(action, "bob", version))


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """Nothing is under way yet."""
    del capsys
    return Site(tmp_path)


def broken(*acts: str) -> Callable[[str], None]:
    """Each of these acts fails, once."""
    left = list(acts)

    def on_act(act: str) -> None:
        if act in left:
            left.remove(act)
            raise CommandError([act], "no")

    return on_act


PROMOTED = {name: Slot("model-7", "stable") for name in SERVICES}
ABORTED = {**FIRST, "canary": None}


def test_a_release_acts_in_this_order(site: Site) -> None:
    """Each service is drained, replaced, tried and asked again before the next; the image's name comes last."""
    site.put_under_way()
    site.action("promote")
    assert site.run() == Ending.PROMOTED
    exchanges = [
        [f"route without {name}", f"replace {name}", f"smoke {name}", "route without nobody"] for name in ("canary", *SERVICES)
    ]
    assert site.stack.acts[:18] == ["build", "shadow", *(act for exchange in exchanges for act in exchange)]
    assert site.stack.runs == PROMOTED == dict(site.state.slots)
    assert site.stack.images["stable"] == "sha256:7"
    assert (site.state.in_service, site.state.served) == (7, (5, 6))
    assert site.mailbox.subjects == ["movierec: version 7 promoted: deployed successfully"]
    assert pending(site.tools.folder) == []


def with_freshness(site: Site, as_of: Callable[[], float | None]) -> None:
    """Freshness is on, and the canary follows the stream up to `as_of`. Once it has entered, somebody asks to promote it."""
    site.tools = replace(site.tools, settings=site.tools.settings.model_copy(update={"fresh": True}))
    site.stack.fresh_as_of = lambda _service: as_of()
    site.stack.on_act = lambda act: site.action("promote") if act == "route without nobody" else None
    site.put_under_way()


def test_a_canary_enters_once_its_answers_are_fresh(site: Site) -> None:
    """It is not judged for a late start."""
    began = site.time
    with_freshness(site, lambda: 0.0 if site.time < began + 300 else site.time - 59)
    assert site.run() == Ending.PROMOTED
    assert 300 <= site.time - began < 400


def test_a_canary_that_does_not_get_fresh_bakes_as_it_is(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """After half an hour, and that is recorded. One of a version without freshness does not wait."""
    began = site.time
    with_freshness(site, lambda: 0.0)
    assert site.run() == Ending.PROMOTED
    assert 1800 <= site.time - began < 1900
    assert "after 1800 s the canary is not fresh yet: it bakes as it is" in capsys.readouterr().out


def test_a_release_can_be_aborted_while_its_canary_gets_fresh(site: Site) -> None:
    """The wait looks for requests."""
    began = site.time

    def as_of() -> float:
        if site.time == began + 20:
            site.action("abort")
        return 0.0

    with_freshness(site, as_of)
    assert site.run() == Ending.ABORTED
    assert site.time - began < 60
    assert site.stack.runs == ABORTED


def test_a_canary_can_be_promoted_while_it_gets_fresh(site: Site) -> None:
    """With Kafka away nobody has to wait."""
    began = site.time
    with_freshness(site, lambda: 0.0)
    site.action("promote")
    assert site.run() == Ending.PROMOTED
    assert site.time - began < 60


def test_a_deploy_during_the_build_does_not_reach_the_image(site: Site) -> None:
    """The build reads a copy, which is gone afterwards: git has version 8 in the tree by then."""
    data = site.tools.settings.data_dir

    def deploy(act: str) -> None:
        if act == "build":
            (data / "version.txt").write_text("8\n")
            (data / "model" / "metadata.json").write_text("{}")

    site.stack.on_act = deploy
    site.put_under_way()
    site.action("promote")
    assert site.run() == Ending.PROMOTED
    assert site.stack.built["data/version.txt"] == "7\n"
    assert json.loads(site.stack.built["data/model/metadata.json"])["version"] == 7
    assert "app/requirements.txt" in site.stack.built
    assert not site.stack.context.exists()


@pytest.mark.parametrize(
    ("number", "model", "reason"),
    [("8", 8, "the tree holds version 8 by now"), ("7", 8, "model holds version 8, not 7"), ("7", None, "cannot be copied")],
)
def test_a_tree_of_another_version_is_not_built(site: Site, number: str, model: int | None, reason: str) -> None:
    """Also one that is half way between two versions."""
    site.put_under_way()
    data = site.tools.settings.data_dir
    (data / "version.txt").write_text(number)
    metadata: dict[str, object] = {"format": FORMAT, "version": model, "arrays": {}}
    (data / "model" / "metadata.json").write_text("" if model is None else json.dumps(metadata))
    assert site.run() == Ending.FAILED
    assert "build" not in site.stack.acts
    assert reason in site.state.ends[-1].reasons[0]


def test_without_figures_a_release_is_inconclusive(site: Site) -> None:
    """After the longest bake; the stable services were never touched."""
    site.put_under_way()
    begun = site.time
    assert site.run() == Ending.INCONCLUSIVE
    assert 120 <= site.time - begun < 150
    assert site.stack.runs == ABORTED
    assert site.stack.asked == {"stable-1", "stable-2"}
    (subject,) = site.mailbox.subjects
    assert subject.startswith("movierec: canary 7 inconclusive: mean: no metrics, Prometheus")
    assert "inconclusive" in site.state.taken_back["7"]
    folder = site.tools.folder / site.state.ends[-1].folder
    assert json.loads((folder / "end.json").read_text())["ending"] == "inconclusive"
    assert (folder / "report.html").exists()


def test_each_observation_is_a_metric(site: Site) -> None:
    """When the last one was: a canary that nobody looks at is an alert."""
    site.put_under_way()
    site.run()
    lines = (site.tools.settings.log_dir / "metrics" / "release_look.prom").read_text().splitlines()[-1]
    assert lines.startswith("release_last_look_time_seconds ")
    assert 0 < float(lines.split()[1]) <= site.time


def test_the_shadow_may_refuse(site: Site) -> None:
    """Then nothing at all has changed."""
    site.put_under_way()
    site.reasons = ("shadow mean 700 ms, limit 500 ms",)
    assert site.run() == Ending.REFUSED
    assert site.stack.runs == FIRST
    assert site.stack.asked == set(SERVICES)
    assert site.mailbox.subjects == ["movierec: canary 7 refused: shadow mean 700 ms, limit 500 ms"]


@pytest.mark.parametrize(
    ("act", "ending", "runs"),
    [
        ("build", Ending.FAILED, FIRST),
        ("shadow", Ending.FAILED, FIRST),
        ("route without canary", Ending.FAILED, ABORTED),
        ("replace canary", Ending.FAILED, ABORTED),
        ("smoke canary", Ending.FAILED, ABORTED),
        ("replace stable-1", Ending.FAILED, ABORTED),
        ("smoke stable-2", Ending.FAILED, ABORTED),
        ("route without stable-2", Ending.FAILED, ABORTED),
    ],
)
def test_what_breaks_is_put_back(site: Site, act: str, ending: Ending, runs: Slots) -> None:
    """The healthy ones go on serving, and version 6 stays in service."""
    site.put_under_way()
    site.action("promote")
    site.stack.on_act = broken(act)
    assert site.run() == ending
    assert site.stack.runs == runs
    assert site.stack.asked == {name for name, slot in runs.items() if slot is not None}
    assert site.state.in_service == 6
    assert len(site.mailbox.subjects) == 1
    assert site.stack.images["stable"] == "sha256:6"


@pytest.mark.parametrize("act", ["replace canary", "smoke canary"])
def test_a_sick_canary_is_taken_back_and_an_engines_hiccup_blames_no_version(site: Site, act: str) -> None:
    """The one is not released again by itself, the other may be."""
    site.put_under_way()
    site.stack.on_act = broken(act)
    assert site.run() == Ending.FAILED
    assert site.state.taken_back == {}
    site.time += 60
    site.stack.asked, site.stack.runs = set(SERVICES), dict(FIRST)
    save(site.tools.folder, replace(site.state, slots=FIRST))
    site.put_under_way()

    def sicken(done: str) -> None:
        if done == act:
            raise UnhealthyError("exited")

    site.stack.on_act = sicken
    assert site.run() == Ending.ABORTED
    assert site.state.taken_back == {"7": "aborted"}


@pytest.mark.parametrize("act", ["replace stable-1", "smoke stable-1", "replace stable-2", "smoke stable-2"])
def test_an_undoing_sends_nobody_to_what_has_just_failed(site: Site, act: str) -> None:
    """The sick service is brought back first, and asked again when it is well; somebody is asked all the time."""
    site.put_under_way()
    site.action("promote")
    failed = act.split()[1]
    sent: list[str] = []

    def on_act(done: str) -> None:
        if failed in site.stack.asked & site.stack.sick or not site.stack.asked:
            sent.append(done)
        if done == act and act not in site.stack.acts[:-1]:
            site.stack.runs[failed] = Slot("model-7", "stable")
            site.stack.sick.add(failed)
            raise CommandError([act], "no")

    site.stack.on_act = on_act
    assert site.run() == Ending.FAILED
    assert sent == []
    assert site.stack.runs == ABORTED
    assert site.stack.asked == {"stable-1", "stable-2"}


def test_where_every_stable_service_is_sick_the_undoing_still_asks_one(site: Site) -> None:
    """An answer that may fail beats none."""
    site.put_under_way("rollback")
    asked: list[set[str]] = []

    def on_act(act: str) -> None:
        asked.append(set(site.stack.asked))
        if act == "smoke canary" and site.stack.acts.count(act) == 1:
            site.stack.sick |= set(SERVICES)
            raise CommandError([act], "no")

    site.stack.on_act = on_act
    assert site.run() == Ending.FAILED
    assert all(asked)
    assert site.stack.asked == set(SERVICES)


def test_taking_back_is_tried_again(site: Site) -> None:
    """An engine that hiccups must not leave a release half undone; where it goes on, somebody resumes."""
    site.put_under_way()
    site.action("abort")
    site.stack.on_act = broken("remove canary", "remove canary")
    save(site.tools.folder, replace(site.state, under_way=replace(site.state.under_way, step=ReleaseStep.BAKE)))  # type: ignore[type-var]
    site.stack.asked.discard("canary")
    assert site.run() == Ending.ABORTED
    assert site.stack.acts.count("remove canary") == 3


def test_an_end_is_reported_by_each_channel_once_however_late_it_takes_it(site: Site) -> None:
    """The next look tries again whom nobody could tell, also once another release has ended meanwhile."""
    other = Mailbox("other")
    site.tools = replace(site.tools, channels=[site.mailbox, other])
    site.mailbox.is_away = True
    site.put_under_way("rollback")
    assert site.run() == Ending.ROLLED_BACK
    assert (site.mailbox.subjects, len(other.subjects)) == ([], 1)
    assert (site.state.ends[-1].notified, site.state.ends[-1].notified_by) == (False, ("other",))
    site.put_under_way()
    site.action("abort")
    assert site.run() == Ending.ABORTED
    site.time += 900
    settle(site.tools)
    assert [end.notified for end in site.state.ends] == [False, False]
    site.mailbox.is_away = False
    settle(site.tools)
    settle(site.tools)
    assert [end.notified for end in site.state.ends] == [True, True]
    assert site.mailbox.subjects == other.subjects
    assert len(other.subjects) == 2


@pytest.mark.parametrize("gone", [None, "stable-1"])
@pytest.mark.parametrize("action", ["abort", None])
def test_the_containers_of_a_killed_shadow_are_gone_at_the_end(site: Site, action: str | None, gone: str | None) -> None:
    """Also where the release is not gone on with, and a service is missing."""

    def on_act(act: str) -> None:
        if act == "shadow" and site.stack.acts.count(act) == 1:
            raise KilledError
        if act == "shadow":
            raise CommandError([act], "no room")

    site.put_under_way()
    site.stack.on_act = on_act
    with pytest.raises(KilledError):
        site.run()
    assert site.stack.shadows
    if gone:
        site.stack.runs[gone] = None
    if action:
        site.action(action)
    assert site.run() == (Ending.ABORTED if action else Ending.FAILED)
    assert site.stack.shadows == set()


def test_where_the_engine_is_away_containers_of_a_shadow_keep_nobody_from_the_end(site: Site) -> None:
    """The next shadow removes them."""
    site.put_under_way()
    site.action("abort")
    site.stack.on_act = broken("rm")
    assert site.run() == Ending.ABORTED


def test_images_of_no_use_go_once_something_has_ended(site: Site) -> None:
    """Those that are there, and no others; a look at which nothing ended asks the engine nothing."""
    ended = ReleaseEnd(4, Ending.ABORTED, (), "ann", 0.0, 900.0, 3, "4-x", notified=True)
    save(site.tools.folder, replace(site.state, ends=(ended,)))
    site.stack.images["model-4"] = "sha256:4"
    site.put_under_way()
    site.action("abort")
    site.run()
    assert "model-4" not in site.stack.images
    assert "model-6" in site.stack.images
    assert site.stack.acts[-2:] == ["tags", "image"]
    site.stack.acts.clear()
    settle(site.tools)
    assert site.stack.acts == []


def test_an_engine_that_is_away_at_the_end_changes_no_end(site: Site) -> None:
    """The images stay; the next end looks again."""
    site.put_under_way()
    site.action("abort")
    site.stack.on_act = broken("tags")
    assert site.run() == Ending.ABORTED
    assert len(site.mailbox.subjects) == 1


def test_nobody_is_notified_of_what_happened_more_than_a_day_ago(site: Site) -> None:
    """A channel that is away for good does not keep the looks busy for ever."""
    site.mailbox.is_away = True
    site.put_under_way("rollback")
    site.run()
    site.time += 24 * 3600
    settle(site.tools)
    assert site.state.ends[-1].notified
    site.mailbox.is_away = False
    settle(site.tools)
    assert site.mailbox.subjects == []


def test_a_rollback_replaces_all_services(site: Site) -> None:
    """The version that was in service is not released again by itself."""
    site.put_under_way("rollback")
    assert site.run() == Ending.ROLLED_BACK
    assert site.stack.runs == {name: Slot("model-5", "stable") for name in SERVICES}
    assert (site.state.in_service, dict(site.state.taken_back)) == (5, {"6": "rolled back"})
    assert site.mailbox.subjects == ["movierec: rolled back to version 5 from 6"]


def test_a_rollback_that_breaks_brings_back_what_was(site: Site) -> None:
    """The canary too."""
    site.put_under_way("rollback")
    site.stack.on_act = broken("smoke canary")
    assert site.run() == Ending.FAILED
    assert site.stack.runs == FIRST
    assert site.state.in_service == 6


@pytest.mark.parametrize(
    ("action", "ending", "runs"),
    [
        ("promote", Ending.PROMOTED, PROMOTED),
        ("abort", Ending.ABORTED, None),
        ("release", Ending.SUPERSEDED, None),
        (None, Ending.INCONCLUSIVE, ABORTED),
    ],
)
def test_a_kill_at_any_act_changes_no_end(tmp_path: Path, action: str | None, ending: Ending, runs: Slots | None) -> None:
    """Killed before and after every act in turn, and run again: the same end, told once, nothing half done."""
    for number in range(60):
        site = Site(tmp_path / f"{action}{number}")
        site.put_under_way()
        if action:
            late = action != "promote" and number % 2
            site.action(action, 8) if not late else None
        counted = 0

        def on_act(_act: str, number: int = number) -> None:
            nonlocal counted
            counted += 1
            if counted == number + 1:
                raise KilledError

        site.stack.on_act = on_act
        try:
            ended = site.run()
        except KilledError:
            if action and site.state.under_way is not None and site.state.under_way.ending is None:
                site.action(action, 8)
            ended = site.run()
        assert site.state.under_way is None
        assert site.stack.runs == dict(site.state.slots)
        assert site.stack.asked == {name for name, slot in site.state.slots.items() if slot is not None}
        assert len(site.mailbox.subjects) == 1
        assert ended in ({ending, Ending.INCONCLUSIVE, Ending.PROMOTED} if action in {"abort", "release"} else {ending})
        if runs is not None:
            assert site.stack.runs == runs


def test_a_stop_leaves_the_release_for_a_resumption(site: Site) -> None:
    """TERM ends it between two steps; nobody is told of an end."""

    class Stopped:
        def check(self) -> None:
            if site.state.under_way is not None and site.state.under_way.step == ReleaseStep.LEAVE:
                raise StoppedError(15)

    site.put_under_way()
    stop: Any = Stopped()
    with pytest.raises(StoppedError):
        Controller(site.tools, stop).run()
    assert site.state.under_way is not None
    assert site.state.under_way.step == ReleaseStep.LEAVE
    assert site.mailbox.subjects == []
    site.action("promote")
    assert site.run() == Ending.PROMOTED


@pytest.mark.parametrize(("action", "ending"), [("abort", Ending.ABORTED), ("release", Ending.SUPERSEDED)])
def test_a_shadow_is_ended_by_what_is_asked_meanwhile(site: Site, action: str, ending: Ending) -> None:
    """Nobody waits for its end; no service was touched."""
    site.put_under_way()
    site.stack.on_act = lambda act: site.action(action, 8) if act == "shadow" else None
    assert site.run() == ending
    assert site.stack.runs == FIRST
    assert pending(site.tools.folder) == []


def test_a_promotion_that_is_asked_for_during_the_shadow_is_noted(site: Site) -> None:
    """The shadow goes on, and the bake is left out."""
    site.put_under_way()
    site.stack.on_act = lambda act: site.action("promote") if act == "shadow" else None
    began = site.time
    assert site.run() == Ending.PROMOTED
    assert site.time < began + 60


def test_a_stop_is_heard_amid_a_shadow(site: Site) -> None:
    """Whoever resumes shadows again."""
    site.put_under_way()
    stop: Any = StopFrom(lambda: site.stack.acts.count("shadow") == 1)
    with pytest.raises(StoppedError):
        Controller(site.tools, stop).run()
    assert site.state.under_way is not None
    assert site.state.under_way.step == ReleaseStep.SHADOW
    site.action("promote")
    assert site.run() == Ending.PROMOTED


class StopFrom:
    """TERM from the moment on that `begun` says."""

    def __init__(self, begun: Callable[[], bool]) -> None:
        self._begun = begun

    def check(self) -> None:
        """End the run."""
        if self._begun():
            raise StoppedError(15)


def test_a_stop_is_heard_amid_a_bake(site: Site) -> None:
    """Within a second; the canary bakes on where somebody resumes, and its time counts."""
    site.put_under_way()
    begun = site.time
    stop: Any = StopFrom(lambda: site.time >= begun + 60)
    with pytest.raises(StoppedError) as stopped:
        Controller(site.tools, stop).run()
    assert stopped.value.status == 143
    assert site.time <= begun + 62
    assert site.state.under_way is not None
    assert (site.state.under_way.step, site.state.under_way.ending) == (ReleaseStep.BAKE, None)
    assert site.stack.runs["canary"] == Slot("model-7", "canary")
    assert site.mailbox.subjects == []
    assert site.run() == Ending.INCONCLUSIVE
    assert 120 <= site.time - begun < 150


@pytest.mark.parametrize("act", ["build", "replace canary", "smoke canary", "replace stable-1"])
def test_a_command_that_a_stop_broke_is_no_fault_of_the_version(site: Site, act: str) -> None:
    """Whoever resumes does that step again."""
    site.put_under_way()
    site.action("promote")
    site.stack.on_act = broken(act)
    stop: Any = StopFrom(lambda: act in site.stack.acts)
    with pytest.raises(StoppedError):
        Controller(site.tools, stop).run()
    assert site.state.under_way is not None
    assert site.state.under_way.ending is None
    assert site.run() == Ending.PROMOTED


@pytest.mark.parametrize("set_by", [-86_400.0, -7200.0, 86_400.0])
def test_a_clock_that_is_set_neither_shortens_nor_lengthens_a_bake(site: Site, set_by: float) -> None:
    """A bake that would last for two minutes lasts so long when the clock is set in its midst, also across a kill."""
    site.put_under_way()
    began = site.time

    def sleep(seconds: float) -> None:
        site.time += seconds
        if site.clock_set_by == 0.0 and site.time > began + 40.0:
            site.clock_set_by = set_by
            raise KilledError

    site.tools = replace(site.tools, sleep=sleep)
    with pytest.raises(KilledError):
        site.run()
    assert site.run() == Ending.INCONCLUSIVE
    assert 120 <= site.time - began <= 160


def test_a_reboot_is_no_bake(site: Site) -> None:
    """The time that the machine was away does not count, and the time before it does."""
    site.put_under_way()
    rollout = replace(site.state.under_way, step=ReleaseStep.BAKE, bake_began=site.time - 30, boot="another")  # type: ignore[type-var]
    save(site.tools.folder, replace(site.state, under_way=rollout))
    folder = site.tools.folder / rollout.folder  # type: ignore[union-attr]
    evidence = {
        "version": "7",
        "began": site.time - 30,
        "candidate": "canary",
        "baseline": ["stable-1", "stable-2"],
        "looks": [],
    }
    (folder / "evidence.json").write_text(
        json.dumps({**evidence, "counters": {"canary service": {"started": 1.0}}, "until": site.time, "outage": None})
    )
    site.stack.asked = set(SERVICES)
    site.time += 3600
    begun = site.time
    site.stack.runs["canary"] = Slot("model-7", "canary")
    assert site.run() == Ending.INCONCLUSIVE
    assert 85 <= site.time - begun <= 100
    assert json.loads((folder / "evidence.json").read_text())["counters"] == {}
