"""Every command of a release as a plain list: built here, run elsewhere. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIGURATION = "/etc/movierec/nginx/nginx.conf"
# A service is healthy within seconds, or after a cold start of a large model within a minute.
HEALTHY_SECONDS = 90
BUILD_SECONDS = 1800.0


def compose(docker: str, root: Path, files: Sequence[Path] = ()) -> list[str]:
    """Compose in the checkout `root`, by these files; by those that it finds there where none is named."""
    named = [word for path in files for word in ("--file", str(path))]
    return [docker, "compose", *(["--project-directory", str(root), *named] if files else ())]


def replace(compose: Sequence[str], service: str) -> list[str]:
    """Brings a service to what the Compose files say, and waits until it is healthy. Again: does nothing."""
    wait = ("--wait", "--wait-timeout", str(HEALTHY_SECONDS))
    return [*compose, "up", "--detach", "--no-deps", "--no-build", *wait, service]


def start(compose: Sequence[str], service: str) -> list[str]:
    """Brings a service to what the Compose files say, without a wait. Again: does nothing."""
    return [*compose, "up", "--detach", "--no-deps", "--no-build", service]


def remove(compose: Sequence[str], service: str) -> list[str]:
    """Stops a service and removes its container. Again: does nothing."""
    return [*compose, "rm", "--stop", "--force", service]


def engine(docker: str) -> list[str]:
    """Prints the engine's version; fails when no engine answers."""
    return [docker, "version", "--format", "{{.Server.Version}}"]


def container(compose: Sequence[str], service: str) -> list[str]:
    """Prints the id of a service's container, running or not."""
    return [*compose, "ps", "--all", "--quiet", service]


def inspect(docker: str, *containers: str) -> list[str]:
    """Prints all that the engine knows of containers, as JSON."""
    return [docker, "inspect", "--type", "container", *containers]


def check_nginx(compose: Sequence[str]) -> list[str]:
    """Fails where NGINX would not take its configuration."""
    return [*compose, "exec", "-T", "nginx", "nginx", "-t", "-q", "-c", CONFIGURATION]


def reload_nginx(compose: Sequence[str]) -> list[str]:
    """New workers take the configuration; the old ones end with their last request."""
    return [*compose, "exec", "-T", "nginx", "nginx", "-s", "reload", "-c", CONFIGURATION]


def processes(docker: str, container_id: str) -> list[str]:
    """Prints number and command of each process of a container."""
    return [docker, "top", container_id, "-eo", "pid,args"]


def tag(docker: str, image: str, name: str) -> list[str]:
    """Gives an image one more name."""
    return [docker, "tag", image, name]


def image_id(docker: str, image: str) -> list[str]:
    """Prints an image's id; fails where it is not on this machine."""
    return [docker, "image", "inspect", "--format", "{{.Id}}", image]


def tags(docker: str, repository: str) -> list[str]:
    """Prints each tag of a repository's images on this machine."""
    return [docker, "image", "ls", "--format", "{{.Tag}}", repository]


def remove_image(docker: str, image: str) -> list[str]:
    """Takes a name from an image, and removes an image without a name; fails where a container uses it."""
    return [docker, "image", "rm", image]


def shadow(docker: str, name: str, network: str, image: str) -> list[str]:
    """Starts a container with a service's limits that nobody is sent to, and that keeps no journal."""
    confined = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--user", "10001:10001"]
    # Half a service's share of a busy processor: those who answer users come first.
    bounded = ["--memory", "512m", "--pids-limit", "64", "--cpu-shares", "512"]
    folders = [
        *("--tmpfs", "/tmp:mode=1777,size=16m"),  # noqa: S108 - the container's own
        *("--tmpfs", "/run/movierec:uid=10001,gid=10001,mode=0700,size=64m"),
    ]
    environment = ["--env", "SERVICE=shadow", "--env", "TRACK=canary"]
    begin = [docker, "run", "--detach", "--pull", "never", "--name", name, "--network", network, "--restart", "no"]
    return [*begin, *confined, *bounded, *folders, *environment, image]


def remove_container(docker: str, *names: str) -> list[str]:
    """Removes containers, running or not. Again: does nothing."""
    return [docker, "rm", "--force", "--volumes", *names]


def last_log_line(docker: str, name: str) -> list[str]:
    """Prints the last line that a container wrote."""
    return [docker, "logs", "--tail", "1", name]


def pull_model(python: str, model: Path, remote: str) -> list[str]:
    """Fetches the model that the checkout's version names."""
    return [python, "-m", "dvc", "pull", "--force", "--remote", remote, str(model)]
