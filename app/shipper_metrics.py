"""What the shipper tells Prometheus, on a port of its own. A scrape computes them, so shipping pays nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app.settings import host_and_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric


class Ships(Protocol):
    """What the metrics describe: see `app.shipper.Shipper`."""

    rows: int
    reached: bool

    def waiting(self) -> dict[str, int]:
        """The bytes of each service's journals that are not known to be in the database."""
        ...


class ShipperMetrics(Collector):
    """A shipper's figures."""

    def __init__(self, shipper: Ships) -> None:
        self._shipper = shipper

    def collect(self) -> Iterator[Metric]:
        """Rows, whether the database answers, and what waits."""
        yield CounterMetricFamily("shipper_rows", "Rows moved to the database since the start", value=self._shipper.rows)
        text = "Whether the database took the last batch, or the last look ended with all of them in it"
        yield GaugeMetricFamily("shipper_database_up", text, value=int(self._shipper.reached))
        text = "Bytes of a service's journals that are not known to be in the database"
        waiting = GaugeMetricFamily("shipper_waiting_bytes", text, labels=("service",))
        for service, size in self._shipper.waiting().items():
            waiting.add_metric((service,), size)
        yield waiting


def serve(shipper: Ships, bind: str) -> None:
    """Open the port, `host:port`, in a thread of its own. Raises OSError if the address is not free."""
    host, port = host_and_port(bind)
    registry = CollectorRegistry()
    registry.register(ShipperMetrics(shipper))
    start_http_server(port, host, registry)
