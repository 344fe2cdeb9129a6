"""The images that docker-compose.yml and the Dockerfiles name (pure)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_REGISTRY = "docker.io"


def repository_of(name: str) -> str:
    """The name of an image without its tag or digest."""
    head, slash, last = name.partition("@")[0].rpartition("/")
    return head + slash + last.partition(":")[0]


def tag_of(name: str) -> str:
    """The tag of an image; `latest` if it has none."""
    return name.partition("@")[0].rpartition("/")[2].partition(":")[2] or "latest"


def registry_of(name: str) -> str:
    """The registry of an image: the part before the first slash if it can be a host's name."""
    first, slash, _ = name.partition("/")
    return first if slash and re.search(r"[.:]|^localhost$", first) else DEFAULT_REGISTRY


def compose_images(config: Mapping[str, Any]) -> list[str]:
    """The images of `docker compose config --format json`, once each, without images that a service builds."""
    services = list(config.get("services", {}).values())
    built = {repository_of(service["image"]) for service in services if "build" in service and "image" in service}
    named = [service["image"] for service in services if "build" not in service and "image" in service]
    return _once(name for name in named if repository_of(name) not in built)


def base_images(dockerfile: str) -> list[str]:
    """The base images of a Dockerfile, without its own stages. `ARG`s have their default values."""
    given = dict(re.findall(r"^ARG\s+(\w+)=(\S+)", dockerfile, re.MULTILINE))
    froms = re.findall(r"^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", dockerfile, re.MULTILINE | re.IGNORECASE)
    stages = {stage for _, stage in froms} | {"scratch"}
    return _once(name for name in (_filled(source, given) for source, _ in froms) if name not in stages)


def _filled(text: str, given: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda found: given.get(found[1], found[0]), text)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
