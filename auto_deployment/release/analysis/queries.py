"""The queries of a verdict to Prometheus: PromQL as data.

Counters are asked as they are, and their increases are taken by us. `increase()` extrapolates to its window, so that its
counts are no counts, and it loses the first sample of a new series: the first errors.
https://prometheus.io/docs/prometheus/latest/querying/functions/#increase
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

RECOMMEND = 'job="service", url_rule="/recommend/<user>"'
ERRORS = ("5xx", "timeout", "error")
# The client left: neither a success nor a failure of the service.
LEFT = frozenset({"cut", "499"})
CLIENT = "client"

MEMORY = 'sum by (project, service) (container_memory_rss{job="cadvisor", service!=""})'
# cAdvisor sees the stacks of the whole machine, a rehearsal's too. Its own stack is the one whose containers began when the
# services that are scraped say that they did: the canary, for one, is new in each bake.
BEGAN_APART = (
    'min by (project) (abs(container_start_time_seconds{job="cadvisor"} '
    '- on (service) group_left () max by (service) (service_start_time_seconds{job="service"})))'
)

# Not the working set: the kernel charges the pages of a file to its first reader only, not to other containers with the file.
MEMORY_OF_STACK = f"max by (service) ({MEMORY} and on (project) bottomk(1, {BEGAN_APART}))"


# The sum over a pod's containers, with the track that the pod has. Nodes report no track.
MEMORY_OF_PODS = (
    'sum by (pod) (container_memory_rss{job="cadvisor", container!=""}) '
    '* on (pod) group_left (track) max by (track, pod) (service_start_time_seconds{job="service"} > bool 0)'
)


@dataclass(frozen=True)
class Query:
    """`key` names a series' value by its labels; of a `counter` increases are kept, of a `gauge` the value.

    `source` is what is scraped for it: series of one source begin anew together. A series without the label of a side belongs
    to the client's side.
    """

    key: str
    source: Literal["service", "mtail", "cadvisor"]
    kind: Literal["counter", "gauge"]
    text: str


@dataclass(frozen=True)
class Labels:
    """The labels that name a series' side and instance. Without an `instance`, each side is one container.

    With an `instance`, any number of pods serves a side, and each pod's counters are read apart. For tries and answers the
    instance is NGINX's pod.
    """

    side: str = "service"
    instance: str | None = None

    def name_of(self, labels: Mapping[str, str]) -> str:
        """The name of a series' owner in the evidence: `canary`, or `canary/POD`. A series without a side is the client's."""
        side = labels.get(self.side, CLIENT)
        return side if self.instance is None else instance_name(side, labels.get(self.instance, ""))


SERVICES = Labels()
PODS = Labels("track", "pod")


def instance_name(side: str, instance: str) -> str:
    """The name of one instance of a side."""
    return f"{side}/{instance}"


@lru_cache(4096)
def side_of_name(name: str) -> str:
    """The side of a name; a name without an instance is a side."""
    return name.partition("/")[0]


def instance_of_name(name: str) -> str | None:
    """The instance of a name; None for a side."""
    return name.partition("/")[2] or None


def queries_by(labels: Labels) -> tuple[Query, ...]:
    """The queries whose series have these labels."""
    apart = f"{labels.instance}, " if labels.instance else ""
    side, target = f"{labels.side}, {apart}", labels.instance or labels.side
    return (
        Query(
            "le {le}",
            "service",
            "counter",
            f'sum by ({side}version, le) (flask_http_request_duration_seconds_bucket{{{RECOMMEND}, status="200"}})',
        ),
        Query(
            "seconds",
            "service",
            "counter",
            f'sum by ({side}version) (flask_http_request_duration_seconds_sum{{{RECOMMEND}, status="200"}})',
        ),
        Query("try {outcome}", "mtail", "counter", f'sum by ({side}outcome) (nginx_tries_total{{job="mtail"}})'),
        Query(
            "answer {status_class}", "mtail", "counter", f'sum by ({apart}status_class) (nginx_answers_total{{job="mtail"}})'
        ),
        Query("started", "service", "gauge", f'max by ({side}version) (service_start_time_seconds{{job="service"}})'),
        Query("exits", "service", "counter", f'sum by ({side}version) (service_worker_exits_total{{job="service"}})'),
        Query("up", "service", "gauge", f'min by ({target}) (up{{job="service"}})'),
        Query("up", "mtail", "gauge", f'min by ({target}) (up{{job="mtail"}})'),
        Query("memory", "cadvisor", "gauge", MEMORY_OF_STACK if labels.instance is None else MEMORY_OF_PODS),
    )


QUERIES = queries_by(SERVICES)


def text_of(key: str) -> str:
    """The query of a key, as each observation sends it."""
    return next(query.text for query in QUERIES if query.key == key)
