"""A Rollout of the chart on the cluster, its versions, and releases of them under load."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.lib.images.docker import docker
from scripts.rehearse.cases import LATER
from scripts.rehearse.release_stack import COMPRESSED
from tests.cluster import cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import pytest

    from scripts.rehearse.traffic import Visits

NAME = "movierec-service"
PODS = 3
VERDICT = "movierec-verdict:test"
REPOSITORY = "movierec-test"
FIRST, GOOD = 1, 2
# Each version has the model of movierec-app:stable under its own number, and these faults of scripts/rehearse/faulty.
VERSIONS: Mapping[int, Mapping[str, str]] = {
    FIRST: {},
    GOOD: {},
    3: LATER | {"FAULT_SECONDS": "0.7"},
    4: LATER | {"FAULT_ERROR_SHARE": "0.2"},
    5: LATER | {"FAULT_WORKER_ANSWERS": "50"},
    6: {"FAULT_START": "1"},
}
SLOW, CRASHES = "slower than 500 ms", "workers crash"
FAULTY = {SLOW: 3, "20 % errors": 4, CRASHES: 5, "does not start": 6}
# A good version passes after half a minute. A busy machine may need longer.
SETTINGS = COMPRESSED | {"CANARY_MAX_BAKE_MINUTES": "5"}
VALUES = (
    *("--set", "rollout.enabled=true,rollout.deadlineSeconds=60,deployer.enabled=true"),
    *("--set-string", f"image.repository={REPOSITORY},image.tag={FIRST}"),
    *("--set", f"verdict.enabled=true,verdict.image={VERDICT}"),
    *(part for name, value in SETTINGS.items() for part in ("--set-string", f"verdict.settings.{name}={value}")),
)
RELEASE_SECONDS = 400.0


def build(number: int, folder: Path) -> str:
    """The image of a version."""
    faults = VERSIONS[number]
    metadata = json.loads(docker("run", "--rm", "--entrypoint", "cat", "movierec-app:stable", "/srv/model/metadata.json"))
    (folder / "metadata.json").write_text(json.dumps({**metadata, "version": number}))
    lines = ["FROM movierec-app:stable", "COPY --chmod=644 metadata.json /srv/model/metadata.json"]
    if faults:
        faulty = cluster.ROOT / "scripts" / "rehearse" / "faulty" / "faulty.py"
        (folder / "faulty.py").write_text(faulty.read_text())
        lines += ["COPY --chmod=644 faulty.py /srv/faulty.py", f"ENV {' '.join(f'{k}={v}' for k, v in faults.items())}"]
        lines += ['CMD ["gunicorn", "--config", "/srv/app/gunicorn.conf.py", "faulty:main()"]']
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    image = f"{REPOSITORY}:{number}"
    docker("build", "--quiet", "--tag", image, str(folder))
    return image


@contextmanager
def images_of(numbers: Iterable[int], folders: pytest.TempPathFactory) -> Iterator[None]:
    """The images of versions and of the verdict, on the nodes."""
    root = str(cluster.ROOT)
    docker("build", "--quiet", "--file", f"{root}/kubernetes/verdict/Dockerfile", "--tag", VERDICT, root, timeout=900)
    images: list[str] = []
    try:
        images += (build(number, folders.mktemp(f"version-{number}")) for number in numbers)
        cluster.load(*images, VERDICT)
        yield
    finally:
        docker("image", "rm", *images, VERDICT)


def rollout() -> dict[str, Any]:
    """The Rollout as it is now."""
    found: dict[str, Any] = cluster.found("rollout", NAME)
    return found


def image_patch(number: int) -> str:
    """The JSON patch that releases a version: the service and its shipper in one step."""
    places = (f"/spec/template/spec/{kind}/0/image" for kind in ("containers", "initContainers"))
    return json.dumps([{"op": "replace", "path": place, "value": f"{REPOSITORY}:{number}"} for place in places])


def release(number: int) -> None:
    """Set the image, as a pipeline does."""
    cluster.kubectl("patch", "rollout", NAME, "--type", "json", "--patch", image_patch(number))


def baking() -> bool:
    """Whether the verdict is asked about the canary."""
    return bool(rollout()["status"].get("currentStepIndex") == 1)


def wait_for_end() -> str:
    """Wait for the end of a release: promoted or aborted."""

    def end() -> str:
        found = rollout()
        status = found["status"]
        if status.get("observedGeneration") != str(found["metadata"]["generation"]):
            return ""
        if status.get("abort"):
            return "aborted"
        return "promoted" if status.get("phase") == "Healthy" and status["currentPodHash"] == status["stableRS"] else ""

    cluster.wait_until(lambda: bool(end()), RELEASE_SECONDS, "the release does not end")
    return end()


@dataclass(frozen=True)
class Ended:
    """A release under load: its end, what clients had, and the rows of its answers by version and track."""

    end: str
    visits: Visits
    rows: dict[tuple[int, str], int]


def released(number: int, folder: Path, meanwhile: Callable[[], None] | None = None, rate: float = cluster.RATE) -> Ended:
    """Release a version under load, and do something once it bakes. Every pod of the other version has ended afterwards."""
    (before,) = cluster.sql("select coalesce(max(answer_id), ''), count(*) from reccom")
    ends: list[str] = []
    began = time.monotonic()

    def drill() -> None:
        release(number)
        if meanwhile is not None:
            cluster.wait_until(baking, 120, "the version does not bake")
            meanwhile()
        ends.append(wait_for_end())
        cluster.wait_until(lambda: len(service_pods()) == PODS, 120, "pods of the other version do not end")

    visits = cluster.under_load(folder, drill, rate=rate)
    cluster.wait_until(lambda: cluster.rows() >= int(before[1]) + visits.requests, 30, "answers have no row")
    found = cluster.sql(
        f"select version_number, track, count(distinct request_id) from reccom where answer_id > '{before[0]}' "
        "group by version_number, track"
    )
    print(
        f"version {number} {ends[0]} in {time.monotonic() - began:.0f} s: {visits.failed:,} of {visits.requests:,} failed "
        f"({visits.kinds}), p99 {visits.p99} ms, rows {found}"
    )
    if ends[0] != "promoted":
        print(cluster.kubectl("logs", f"{cluster.RELEASE}-notices-0", "--tail", "2"))
    return Ended(ends[0], visits, {(int(version), track): int(count) for version, track, count in found})


def service_pods() -> dict[str, tuple[str, str]]:
    """Image and track of each pod of the services, by name, also of those that end."""
    items = cluster.found("pods", "--selector", "app.kubernetes.io/component=service")["items"]
    return {
        each["metadata"]["name"]: (each["spec"]["containers"][0]["image"], each["metadata"]["labels"].get("movierec/track", ""))
        for each in items
    }


def in_service() -> int:
    """The version of every pod, none of which is a canary."""
    (found,) = {*service_pods().values()}
    image, track = found
    assert track == "stable"
    return int(image.rpartition(":")[2])


def next_good() -> int:
    """A version without faults that is not in service."""
    return FIRST + GOOD - in_service()


def back_to(number: int) -> None:
    """Take the image of an aborted version out of the Rollout: nothing starts, and the Rollout is healthy again."""
    pods = service_pods()
    release(number)
    assert wait_for_end() == "promoted"
    assert service_pods() == pods
