"""The cluster with the images, and one release of the chart for the drills. What these fixtures start, they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.lib.images.docker import docker
from tests.cluster import cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

SOAK_REQUESTS = 30_000


@pytest.fixture(scope="session", autouse=True)
def _nodes() -> Iterator[None]:
    """The cluster, made here if it is not there, with every image of the chart."""
    is_there = (cluster.STATE / "admin.conf").exists()
    docker("tag", "movierec-app:stable", cluster.NEXT)
    try:
        cluster.run(cluster.MAKE, seconds=2400)
        cluster.load(*cluster.IMAGES, cluster.NEXT)
        yield
    finally:
        docker("image", "rm", cluster.NEXT)
        if is_there:
            cluster.uninstall()
        else:
            cluster.run(cluster.MAKE, "--stop")


@pytest.fixture
def tally(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[cluster.Tally]:
    """A drill's results, printed at its end for docs/kubernetes.md: of one time, or of 30,000 requests in a soak."""
    found = cluster.Tally(SOAK_REQUESTS if pytestconfig.getoption("--soak-hours") else 1)
    yield found
    print(f"{request.node.name}: {found.failed:,} of {found.requests:,} failed ({'; '.join(found.kinds)})")
