"""The least a Flask service can do: the baseline of `bench recommend`."""

from __future__ import annotations

from flask import Flask

app = Flask("hello", static_folder=None)


@app.get("/recommend/<user>")
def hello(user: str) -> str:  # noqa: ARG001 - the same route as the service's
    """The same few bytes for everybody."""
    return "hello"


@app.get("/healthz")
@app.get("/readyz")
def ready() -> str:
    """What a container is asked for its health."""
    return "ready"
