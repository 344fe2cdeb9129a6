"""The cluster with the images, and one release of the chart for the drills. What these fixtures start, they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.lib.images.docker import docker
from tests.cluster import cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def nodes() -> Iterator[None]:
    """The cluster, made here if it is not there, with every image of the chart."""
    is_there = (cluster.STATE / "admin.conf").exists()
    cluster.run(cluster.MAKE, seconds=2400)
    docker("tag", "movierec-app:stable", cluster.NEXT)
    cluster.load(*cluster.IMAGES, cluster.NEXT)
    yield
    docker("image", "rm", cluster.NEXT)
    if not is_there:
        cluster.run(cluster.MAKE, "--stop")


@pytest.fixture(scope="module")
def seconds_to_answer(nodes: None) -> Iterator[float]:  # noqa: ARG001 - the order of fixtures
    """The release, in service; how long it took from nothing to an answer."""
    seconds = cluster.install()
    cluster.rolled_out()
    yield seconds
    cluster.uninstall()
