"""The cluster with the images, and one release of the chart for all tests. What these fixtures start, they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.lib.images.docker import docker
from tests.cluster import cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

MAKE = str(cluster.ROOT / "scripts" / "lib" / "cluster.sh")


@pytest.fixture(scope="session")
def nodes() -> Iterator[None]:
    """The cluster, made here if it is not there, with every image of the chart."""
    is_there = (cluster.STATE / "admin.conf").exists()
    cluster.run(MAKE, seconds=2400)
    docker("tag", "movierec-app:stable", cluster.NEXT)
    cluster.run(MAKE, "--load", *cluster.IMAGES, cluster.NEXT, seconds=600)
    yield
    docker("image", "rm", cluster.NEXT)
    if not is_there:
        cluster.run(MAKE, "--stop")


@pytest.fixture(scope="session")
def seconds_to_answer(nodes: None) -> Iterator[float]:  # noqa: ARG001 - the order of fixtures
    """The release, in service; how long it took from nothing to an answer."""
    seconds = cluster.install()
    cluster.rolled_out()
    yield seconds
    cluster.run("helm", "--namespace", cluster.NAMESPACE, "uninstall", cluster.RELEASE, "--wait")
    cluster.run("kubectl", "delete", "namespace", cluster.NAMESPACE, "--timeout", "120s", seconds=150)
