"""The queries of a verdict to Prometheus: PromQL as data.

Counters are asked as they are, and their increases are taken by us. `increase()` extrapolates to its window, so that its
counts are no counts, and it loses the first sample of a new series: the first errors.
https://prometheus.io/docs/prometheus/latest/querying/functions/#increase
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Query:
    """`key` names a series' value by its labels; of a `counter` increases are kept, of a `gauge` the value.

    `source` is what is scraped for it: series of one source begin anew together. A series without the label `service` belongs
    to the client's side.
    """

    key: str
    source: Literal["service", "mtail", "cadvisor"]
    kind: Literal["counter", "gauge"]
    text: str


QUERIES = (
    Query(
        "le {le}",
        "service",
        "counter",
        f'sum by (service, version, le) (flask_http_request_duration_seconds_bucket{{{RECOMMEND}, status="200"}})',
    ),
    Query(
        "seconds",
        "service",
        "counter",
        f'sum by (service, version) (flask_http_request_duration_seconds_sum{{{RECOMMEND}, status="200"}})',
    ),
    Query("try {outcome}", "mtail", "counter", 'sum by (service, outcome) (nginx_tries_total{job="mtail"})'),
    Query("answer {status_class}", "mtail", "counter", 'sum by (status_class) (nginx_answers_total{job="mtail"})'),
    Query("started", "service", "gauge", 'max by (service, version) (service_start_time_seconds{job="service"})'),
    Query("exits", "service", "counter", 'sum by (service, version) (service_worker_exits_total{job="service"})'),
    Query("up", "service", "gauge", 'min by (service) (up{job="service"})'),
    Query("up", "mtail", "gauge", 'min by (service) (up{job="mtail"})'),
    Query("memory", "cadvisor", "gauge", MEMORY_OF_STACK),
)


def text_of(key: str) -> str:
    """The query of a key, as each observation sends it."""
    return next(query.text for query in QUERIES if query.key == key)
