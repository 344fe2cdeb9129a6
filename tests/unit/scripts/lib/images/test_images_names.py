from __future__ import annotations

import pytest

from scripts.lib.images.names import base_images, compose_images, registry_of, repository_of, tag_of


@pytest.mark.parametrize(
    ("name", "registry", "repository", "tag"),
    [
        ("nginx:1.30.0", "docker.io", "nginx", "1.30.0"),
        ("prom/prometheus:v3.5.0", "docker.io", "prom/prometheus", "v3.5.0"),
        ("ghcr.io/jaqx0r/mtail:3.2.24", "ghcr.io", "ghcr.io/jaqx0r/mtail", "3.2.24"),
        ("localhost:5000/nginx", "localhost:5000", "localhost:5000/nginx", "latest"),
        ("nginx:1.30.0@sha256:ab", "docker.io", "nginx", "1.30.0"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(name: str, registry: str, repository: str, tag: str) -> None:
    """Registry, repository and tag; a port is no tag."""
    assert (registry_of(name), repository_of(name), tag_of(name)) == (registry, repository, tag)


def test_what_compose_builds_itself_is_not_looked_for() -> None:
    """Neither by the service that builds it nor by one that uses it under another tag; the others once each."""
    services = {
        "init": {"image": "own:stable", "build": {"context": "."}},
        "canary": {"image": "own:canary"},
        "nginx": {"image": "nginx:1.30.0"},
        "edge": {"image": "nginx:1.30.0"},
        "nameless": {"build": {"context": "."}},
    }
    assert compose_images({"services": services}) == ["nginx:1.30.0"]


def test_the_bases_of_a_dockerfile() -> None:
    """Arguments are filled in with their defaults, stages and `scratch` left out."""
    dockerfile = """
ARG PYTHON=python:3.13.9-slim-trixie
FROM ${PYTHON} AS python
FROM --platform=linux/amd64 debian:trixie-slim as build
FROM python AS service
FROM scratch
COPY --from=build /x /x
"""
    assert base_images(dockerfile) == ["python:3.13.9-slim-trixie", "debian:trixie-slim"]
