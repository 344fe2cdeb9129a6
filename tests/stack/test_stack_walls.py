"""What the stack keeps to itself: ports, privileges, files, secrets."""

from __future__ import annotations

import json
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.stack.stack import ComposeStack

pytestmark = pytest.mark.stack

# cAdvisor needs root and the privileges, see docker-compose.yml; init and migrate have ended.
WALLED = (
    *("stable-1", "stable-2", "canary", "nginx", "mysql", "shipper", "console"),
    *("prometheus", "alertmanager", "mtail", "node-exporter"),
)


def inspected(stack: ComposeStack) -> dict[str, dict[str, Any]]:
    """What Docker says of each container, by service."""
    ids = stack.compose("ps", "-aq").stdout.split()
    details = json.loads(stack.docker("inspect", *ids).stdout)
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in details}


def test_only_the_port_of_nginx_leaves_the_machine(stack: ComposeStack) -> None:
    """Every other published port listens on the loopback address alone."""
    published = {
        (service, address["HostIp"])
        for service, each in inspected(stack).items()
        for bindings in (each["NetworkSettings"]["Ports"] or {}).values()
        for address in bindings or ()
    }
    assert {service for service, address in published if address != "127.0.0.1"} == {"nginx"}
    assert {service for service, _ in published} == {"nginx", "mysql", "prometheus", "alertmanager", "cadvisor", "console"}


def test_a_service_has_no_way_to_the_database(stack: ComposeStack) -> None:
    """The network of NGINX and services knows no MySQL; the port that the host uses is out of reach too."""
    program = (
        "import socket, sys\n"
        "for address in (('mysql', 3306), (sys.argv[1], int(sys.argv[2]))):\n"
        "    try:\n"
        "        socket.create_connection(address, 2)\n"
        "    except OSError:\n"
        "        continue\n"
        "    sys.exit(f'reached {address}')\n"
    )
    gateway = stack.address("stable-1").rpartition(".")[0] + ".1"
    stack.compose("exec", "-T", "stable-1", "python", "-c", program, gateway, str(stack.ports["MYSQL_PORT"]))
    socket.create_connection(("127.0.0.1", stack.ports["MYSQL_PORT"]), 2).close()


@pytest.mark.parametrize("service", WALLED)
def test_a_container_is_walled_in(stack: ComposeStack, service: str) -> None:
    """Not root, root file system read-only, no capability, none to be gained, bounded memory and processes, restarted."""
    details = inspected(stack)[service]
    host = details["HostConfig"]
    assert details["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Privileged"] is False


@pytest.mark.parametrize("service", ["stable-1", "nginx", "mysql", "shipper"])
def test_a_container_that_writes_its_root_or_wants_a_privilege_is_refused(stack: ComposeStack, service: str) -> None:
    """The kernel says no: a read-only file system; no capability in any set; no new privileges."""
    written = stack.compose("exec", "-T", service, "sh", "-c", "echo x > /etc/x", check=False)
    assert "Read-only file system" in written.stderr
    status = stack.compose("exec", "-T", service, "sh", "-c", "cat /proc/1/status").stdout
    sets = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith(("Cap", "NoNewPrivs"))}
    assert sets.pop("NoNewPrivs") == "1"
    assert {int(each, 16) for each in sets.values()} == {0}


def test_secrets_are_their_readers_alone(stack: ComposeStack) -> None:
    """One folder a reader, 0700, its files 0400, the reader's own."""
    host = stack.folder.stat().st_uid
    owners = {
        "mysql": 999,
        "migrate": 10001,
        "shipper": 10001,
        "console": 10001,
        "fresh": 10001,
        "alertmanager": 65534,
        "host": host,
    }
    root = stack.folder / ".secrets"
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert {path.name for path in root.iterdir()} == set(owners)
    for name, owner in owners.items():
        paths = [root / name, *(root / name).iterdir()]
        assert {path.stat().st_uid for path in paths} == {owner}
        assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700] + [0o400] * (len(paths) - 1)


def test_each_container_is_given_its_own_secrets_alone(stack: ComposeStack) -> None:
    """No container but `init`, which has ended, sees another reader's folder."""
    mounted = {
        (service, mount["Source"].rpartition("/")[2])
        for service, each in inspected(stack).items()
        for mount in each["Mounts"]
        if "/.secrets/" in mount["Source"]
    }
    assert mounted == {(name, name) for name in ("mysql", "migrate", "shipper", "console", "alertmanager")}


def test_no_secret_stands_in_configuration_image_or_log(stack: ComposeStack) -> None:
    """Neither in what `docker compose config` prints, nor in the image's history, a container's environment, or a log."""
    values = {path.read_text().strip() for path in (stack.folder / ".secrets").glob("*/*password*")}
    assert len(values) == 4
    places = {
        "config": stack.compose("config").stdout,
        "history": stack.docker("history", "--no-trunc", f"{stack.name}:stable").stdout,
        "logs": stack.compose("logs", "--no-color").stdout,
        "inspect": json.dumps(inspected(stack)),
    }
    assert [(place, "a secret") for place, text in places.items() for value in values if value in text] == []


def test_the_image_holds_serving_parts_only_and_is_small(stack: ComposeStack) -> None:
    """At most 150 MB on top of its base, the model not counted; no pip-installed training library, no compiler, no tests."""
    size, base = (unpacked(stack, image) for image in (f"{stack.name}:stable", base_image(stack)))
    model = int(stack.compose("exec", "-T", "stable-1", "du", "-sb", "/srv/model").stdout.split()[0])
    assert size - base - model < 150e6
    look = "import sys, shutil, importlib.util as u; sys.exit(any(map(u.find_spec, sys.argv[1:])) or bool(shutil.which('gcc')))"
    unwanted = ("surprise", "pandas", "scipy", "dvc", "auto_deployment", "tests")
    stack.compose("exec", "-T", "stable-1", "python", "-c", look, *unwanted)


def unpacked(stack: ComposeStack, image: str) -> int:
    """Bytes of an image's files. The engine's own figure is of compressed layers under containerd's store."""
    options = ("--rm", "--network", "none", "--user", "0:0", "--entrypoint", "du")
    return int(stack.docker("run", *options, image, "--summarize", "--one-file-system", "--bytes", "/").stdout.split()[0])


def base_image(stack: ComposeStack) -> str:
    """The base that app/Dockerfile names."""
    lines = (stack.folder / "app" / "Dockerfile").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("ARG PYTHON_IMAGE="))
