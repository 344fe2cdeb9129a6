"""Files and commands of a release, as values."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from auto_deployment.common.time_format import minutes_of, utc
from auto_deployment.release import docker_commands
from auto_deployment.release.nginx_upstream import render
from auto_deployment.release.services import FIRST, FOLLOWERS, Slot, override
from auto_deployment.release.stack import container_from_inspect, worker_pids

ROOT = Path(__file__).resolve().parents[4]
BAKING = {**FIRST, "canary": Slot("model-7", "canary")}
WITHOUT = {**FIRST, "canary": None}


def servers(text: str) -> list[str]:
    """The servers of an upstream."""
    return [line.strip().removeprefix("server ").rstrip(";") for line in text.splitlines() if line.strip().startswith("server")]


def test_no_container_is_given_an_address_that_is_anothers() -> None:
    """Those that are fixed are outside of what the engine gives away."""
    parsed = yaml.safe_load((ROOT / "docker-compose.yml").read_text().replace("${STACK_NET:-10.213.82}", "10.213.82"))
    (given,) = parsed["networks"]["front"]["ipam"]["config"]
    networks = [each["networks"]["front"] for each in parsed["services"].values() if isinstance(each.get("networks"), dict)]
    fixed = [ip_address(each["ipv4_address"]) for each in networks]
    assert len(fixed) == 4
    for address in (*fixed, ip_address(given["gateway"])):
        assert address in ip_network(given["subnet"])
        assert address not in ip_network(given["ip_range"])
    assert ip_network(given["ip_range"]).subnet_of(ip_network(given["subnet"]))  # type: ignore[arg-type]


def test_the_first_upstream_is_the_shipped_file() -> None:
    """What a stack starts with is what the release would write."""
    assert render(FIRST) == (ROOT / "nginx" / "stack" / "upstream.conf").read_text()
    assert render(BAKING) == render(FIRST)


@pytest.mark.parametrize("service", ["stable-1", "stable-2", "canary"])
def test_a_drained_service_is_asked_by_nobody(service: str) -> None:
    """Not as a backup either; the others stay as they are."""
    before, after = servers(render(BAKING)), servers(render(BAKING, {service}))
    assert [each.removesuffix(" down") for each in after] == before
    assert {each for each in after if each.endswith(" down")} == {f"{each} down" for each in before if each.startswith(service)}


def test_an_absent_canary_is_not_named() -> None:
    """NGINX works with two."""
    assert [each.partition(":")[0] for each in servers(render(WITHOUT))] == ["stable-1", "stable-2"] * 2


def test_a_canary_is_never_ejected_and_a_third_stable_service_is() -> None:
    """A sick canary would starve its evidence."""
    third = render({**FIRST, "canary": Slot("model-7", "stable")})
    assert "canary:5000 resolve weight=1 max_fails=0" in servers(render(BAKING))
    assert "canary:5000 resolve weight=1 max_fails=5 fail_timeout=2s" in servers(third)


def test_compose_gets_image_and_track_of_each_service() -> None:
    """As YAML that Compose adds to its own file; an aborted canary is scaled to none."""
    parsed = yaml.safe_load(override(BAKING))["services"]
    assert parsed["canary"] == {"image": "${APP_IMAGE:-movierec-app}:model-7", "environment": {"TRACK": "canary"}}
    assert parsed["stable-1"] == {"image": "${APP_IMAGE:-movierec-app}:stable", "environment": {"TRACK": "stable"}}
    assert yaml.safe_load(override(WITHOUT))["services"]["canary"] == {"scale": 0}


def test_each_version_in_service_is_followed() -> None:
    """That of the stable service that changes last, and the canary's; a canary that is not there is not followed."""
    followers = ("fresh", "fresh-canary")
    parsed = yaml.safe_load(override(BAKING))["services"]
    images = ["${APP_IMAGE:-movierec-app}:stable", "${APP_IMAGE:-movierec-app}:model-7"]
    assert [parsed[name] for name in followers] == [{"image": image, "profiles": ["fresh"]} for image in images]
    assert yaml.safe_load(override(WITHOUT))["services"]["fresh-canary"]["scale"] == 0


def test_the_override_says_nothing_new_before_the_first_release() -> None:
    """Or an operator's next `up -d` would make every service again, all at once."""
    base = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service, parsed in yaml.safe_load(override(FIRST))["services"].items():
        image = base[service]["image"].replace("${CANARY_TAG:-stable}", "stable")
        assert parsed["image"] == image
        if service in FOLLOWERS.values():
            assert parsed["profiles"] == base[service]["profiles"]
            continue
        track = base[service]["environment"]["TRACK"].replace("${CANARY_TRACK:-canary}", "canary")
        assert parsed["environment"]["TRACK"] == track


def test_a_service_is_replaced_alone_and_waited_for() -> None:
    """Neither its dependencies nor a build come with it, and the wait has a limit."""
    expected = ["docker", "compose", "up", "--detach", "--no-deps", "--no-build", "--wait", "--wait-timeout", "90", "canary"]
    assert docker_commands.replace(("docker", "compose"), "canary") == expected
    assert docker_commands.remove(("docker", "compose"), "canary") == ["docker", "compose", "rm", "--stop", "--force", "canary"]


def test_nginx_is_asked_before_it_reloads_the_same_file() -> None:
    """Where the stack's image has it."""
    check, reload = docker_commands.check_nginx(("docker", "compose")), docker_commands.reload_nginx(("docker", "compose"))
    assert check == ["docker", "compose", "exec", "-T", "nginx", "nginx", "-t", "-q", "-c", "/etc/movierec/nginx/nginx.conf"]
    assert reload == [
        "docker",
        "compose",
        "exec",
        "-T",
        "nginx",
        "nginx",
        "-s",
        "reload",
        "-c",
        "/etc/movierec/nginx/nginx.conf",
    ]
    script = (ROOT / "nginx" / "stack" / "start.sh").read_text()
    assert "copy=/etc/movierec/nginx " in script
    assert 'exec nginx -c "${copy}/nginx.conf"' in script


def test_a_shadow_has_a_services_limits_and_no_journal() -> None:
    """Those of docker-compose.yml; it mounts no volume."""
    found = docker_commands.shadow("docker", "movierec-shadow-new", "movierec_front", "sha256:1")
    base = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-service"]
    for option, value in (("--memory", base["mem_limit"]), ("--pids-limit", str(base["pids_limit"])), ("--user", base["user"])):
        assert found[found.index(option) + 1] == value
    assert [found[n + 1] for n, each in enumerate(found) if each == "--tmpfs"] == base["tmpfs"]
    assert "--read-only" in found
    assert not any("journal" in each.lower() or each == "--volume" for each in found)
    assert found[-1] == "sha256:1"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (docker_commands.container(("d", "compose"), "canary"), "d compose ps --all --quiet canary"),
        (docker_commands.inspect("d", "abc"), "d inspect --type container abc"),
        (docker_commands.processes("d", "abc"), "d top abc -eo pid,args"),
        (docker_commands.tag("d", "sha256:1", "app:stable"), "d tag sha256:1 app:stable"),
        (docker_commands.image_id("d", "app:model-7"), "d image inspect --format {{.Id}} app:model-7"),
        (docker_commands.tags("d", "app"), "d image ls --format {{.Tag}} app"),
        (docker_commands.remove_image("d", "app:model-1"), "d image rm app:model-1"),
        (docker_commands.remove_container("d", "one", "other"), "d rm --force --volumes one other"),
        (docker_commands.last_log_line("d", "shadow"), "d logs --tail 1 shadow"),
        (docker_commands.pull_model("py", Path("data/model"), "local"), "py -m dvc pull --force --remote local data/model"),
    ],
)
def test_other_commands(command: list[str], expected: str) -> None:
    """Word for word."""
    assert " ".join(command) == expected


def test_workers_are_distinguished_from_other_processes() -> None:
    """Those that end are workers still."""
    printed = (
        "PID COMMAND\n100 nginx: master process nginx -c x\n101 nginx: worker process is shutting down\n"
        "102 nginx: worker process\n103 sleep 30\n"
    )
    assert worker_pids(printed) == {"101", "102"}


def test_a_container_is_read_from_what_the_engine_prints() -> None:
    """Healthy is what runs and says so."""
    values = {
        "Id": "abc",
        "Name": "/movierec-canary-1",
        "Image": "sha256:1",
        "Config": {"Image": "movierec-app:model-7"},
        "State": {"Status": "running", "StartedAt": "2026-11-23T13:00:00.5Z", "Health": {"Status": "healthy"}},
        "NetworkSettings": {"Networks": {"movierec_front": {"IPAddress": "172.30.82.13"}}},
    }
    found = container_from_inspect(values)
    assert (found.name, found.address, found.network) == ("movierec-canary-1", "172.30.82.13", "movierec_front")
    assert found.is_healthy
    assert not container_from_inspect({**values, "State": {"Status": "exited", "StartedAt": ""}}).is_healthy


def test_times_are_reported_as_people_read_them() -> None:
    """Seconds, minutes, hours."""
    assert [minutes_of(seconds) for seconds in (61, 600, 7300)] == ["61 s", "10 min", "2.0 h"]
    assert utc(0.0) == "1970-01-01T00:00:00Z"
