"""Images from registries: each registry is tried once, with a short limit, and left alone if it does not answer."""

from __future__ import annotations

import selectors
import subprocess
from typing import IO

from scripts.lib.images.docker import client
from scripts.lib.images.names import registry_of
from scripts.lib.images.plan import Pull, pull_outcome

SILENCE_SECONDS = 20.0
PULL_SECONDS = 900.0


class Registries:
    """Pulls images; remembers which registries do not answer."""

    def __init__(self) -> None:
        self._silent: set[str] = set()

    def pull(self, name: str) -> Pull:
        """Pull an image: DONE, or why not. A registry that says nothing for 20 s is taken for absent, here and later."""
        registry = registry_of(name)
        if registry in self._silent:
            return Pull.NO_REGISTRY
        outcome = _pull(name)
        if outcome is Pull.NO_REGISTRY:
            self._silent.add(registry)
        return outcome


def _pull(name: str) -> Pull:
    with subprocess.Popen([client(), "pull", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pulling:
        if not (pulling.stdout and _speaks(pulling.stdout)):
            pulling.kill()
            return pull_outcome(None, "")
        try:
            said, _ = pulling.communicate(timeout=PULL_SECONDS)
        except subprocess.TimeoutExpired:
            pulling.kill()
            return pull_outcome(None, "")
        return pull_outcome(pulling.returncode, said)


def _speaks(stream: IO[str]) -> bool:
    """Whether anything is there to be read within the limit."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(SILENCE_SECONDS))
