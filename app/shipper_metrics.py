"""The shipper's metrics for Prometheus, on a port of their own. Only a scrape computes them."""

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
    """The interface of `app.shipper.Shipper`."""

    rows: int
    reached: bool

    def waiting(self) -> dict[str, int]:
        """The bytes of each service's journals that the database does not have yet."""
        ...


class ShipperMetrics(Collector):
    """The metrics of one shipper."""

    def __init__(self, shipper: Ships) -> None:
        self._shipper = shipper

    def collect(self) -> Iterator[Metric]:
        """The rows so far, whether the database takes rows, and the bytes that wait."""
        yield CounterMetricFamily("shipper_rows", "Rows moved to the database since the start", value=self._shipper.rows)
        text = "Whether the last attempt to move rows to the database succeeded"
        yield GaugeMetricFamily("shipper_database_up", text, value=int(self._shipper.reached))
        text = "Bytes of a service's journals that the database does not have yet"
        waiting = GaugeMetricFamily("shipper_waiting_bytes", text, labels=("service",))
        for service, size in self._shipper.waiting().items():
            waiting.add_metric((service,), size)
        yield waiting


def serve(shipper: Ships, bind: str) -> None:
    """Serve the metrics on `host:port` in a thread. Raises OSError if the address is taken."""
    host, port = host_and_port(bind)
    registry = CollectorRegistry()
    registry.register(ShipperMetrics(shipper))
    start_http_server(port, host, registry)
