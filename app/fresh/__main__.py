"""`python -m app.fresh`: follows the stream, and keeps what is new of each user for the services of one version."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.events import Reject, Repaired, parse
from app.fresh.follow import FileSource
from app.fresh.list_model import ListModel, NoFreshPartError
from app.fresh.overlay import folder_of
from app.fresh.state import State
from app.fresh.topic import TopicSource
from app.fresh.writer import Writer, only_one
from app.model import ArtifactError
from app.settings import FreshSettings, settings_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from app.events import Rules
    from app.fresh.follow import Source

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
PUBLISH_SECONDS = 1.0
CATCH_UP_SECONDS = 60.0
COMPUTE_SECONDS = 0.2
LOCK_SECONDS = 0.5


class Follower:
    """Takes lines from a source to the state, and publishes the state."""

    def __init__(self, source: Source, state: State, writer: Writer, rules: Rules) -> None:
        self._source = source
        self._state = state
        self._writer = writer
        self._rules = rules

    def step(self) -> bool:
        """Take the next lines. Returns whether there were any. Raises OSError."""
        lines = self._source.poll()
        for line in lines:
            event = parse(line, self._rules)
            if isinstance(event, Repaired):
                event = event.event
            if not isinstance(event, Reject):
                self._state.apply(event)
        return bool(lines)

    def has_reached(self, marks: Mapping[str, int] | None) -> bool:
        """Whether the source was read as far as that, or to its end."""
        read = self._source.marks
        return self.is_at_end or (marks is not None and all(read.get(name, 0) >= mark for name, mark in marks.items()))

    @property
    def is_at_end(self) -> bool:
        """Whether the source was read to its end once. Before, lists would be computed that the next lines change."""
        return self._source.as_of > 0

    @property
    def has_work(self) -> bool:
        """Whether lists can be computed now."""
        return self.is_at_end and self._state.due > 0

    def compute(self) -> None:
        """Compute lists that are due, for a short time."""
        self._state.compute_due(time.monotonic() + COMPUTE_SECONDS)

    def publish(self) -> None:
        """Write what has changed."""
        self._writer.publish(self._state, self._source)


def run(follower: Follower, published: Mapping[str, int] | None, stop: threading.Event, beat: Callable[[], None]) -> None:
    """Follow until `stop` is set. Nothing is published before the source was read to `published`, the marks of the last state.

    Struck films are published every second, however many lists are due; once a minute while a version without a last state
    catches up. `beat` is called in each round.
    """
    published_at, behind, problem = time.monotonic(), published != {}, ""
    while not stop.is_set():
        beat()
        try:
            some = follower.step()
        except OSError as error:
            if not problem:
                log.warning("the stream cannot be read now, tried again until it can: %s", error)
            some, problem = False, str(error)
        else:
            if problem:
                log.warning("the stream can be read again")
            problem = ""
        behind = behind and not follower.has_reached(published)
        if not behind:
            is_due = time.monotonic() - published_at >= (PUBLISH_SECONDS if follower.is_at_end else CATCH_UP_SECONDS)
            # Once the lines pause: of somebody whose lines come all the time, one list is computed for each publication.
            if follower.is_at_end and (is_due or not some):
                follower.compute()
            if is_due:
                follower.publish()
                published_at = time.monotonic()
        if not some and not follower.has_work:
            stop.wait(IDLE_SECONDS)


class _Beat:
    """Touches a file at most once a second."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if self._file is not None and now >= self._next:
            self._next = now + 1.0
            with contextlib.suppress(OSError):  # a health check that fails says it
                self._file.touch()


def main(arguments: Sequence[str] = ()) -> int:
    """The command. Returns 0 after TERM or Ctrl-C, 1 or 2, see docs/operations.md."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments:
        sys.stderr.write("use: python -m app.fresh, with settings from the environment\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = FreshSettings()
        _serve(settings, stop, _Beat(settings.heartbeat_file))
    except ValidationError as error:
        sys.stderr.write(f"fresh: {settings_problem(error)}\n")
        return 2
    except (ArtifactError, OSError) as error:
        sys.stderr.write(f"fresh: {error}\n")
        return 1
    return 0


def _serve(settings: FreshSettings, stop: threading.Event, beat: _Beat) -> None:
    """Follow until `stop` is set, once no other process does. A version without a fresh part has nothing to follow."""
    try:
        model = ListModel(settings.model_dir)
    except NoFreshPartError as error:
        log.warning("%s. Until the next version nothing is to be done here", error)
        _wait(stop, beat)
        return
    folder = folder_of(settings.fresh_dir, settings.model_dir, int(model.metadata["version"]))
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    waits = False
    while not stop.is_set():
        with only_one(folder) as alone:
            if alone:
                _follow(settings, model, folder, stop, beat)
        if not alone:
            if not waits:
                log.info("another process writes %s: waiting for its end", folder)
            waits = True
            beat()
            stop.wait(LOCK_SECONDS)


def _wait(stop: threading.Event, beat: _Beat) -> None:
    while not stop.is_set():
        beat()
        stop.wait(1.0)


def _follow(settings: FreshSettings, model: ListModel, folder: Path, stop: threading.Event, beat: _Beat) -> None:
    writer = Writer(folder, settings.checkpoint_seconds)
    records, marks, published = writer.read()
    with contextlib.closing(_source(settings, model, marks, writer.as_of)) as source:
        log.info(
            "version %d follows %s from %s, %d users are known", model.metadata["version"], source.name, marks, len(records)
        )
        run(Follower(source, State(model, records), writer, model.rules), published, stop, beat)


def _source(settings: FreshSettings, model: ListModel, marks: Mapping[str, int], as_of: float) -> Source:
    if settings.follow_file is not None:
        return FileSource(settings.follow_file, settings.follow_from, marks)
    try:
        since = datetime.fromisoformat(model.metadata["data_creation"]).timestamp()
        return TopicSource(settings, model.metadata["fresh"]["offsets"], max(since, as_of), marks)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{settings.model_dir}/metadata.json: does not say where its data end ({error}): train again"
        ) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
