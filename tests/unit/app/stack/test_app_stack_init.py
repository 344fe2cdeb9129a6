from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from app.env_file import EnvFileError
from app.provenance import SecretError
from app.stack import init as stack_init
from app.stack.init import PASSWORDS, PLACE, init, main, passwords

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with NGINX's place, and owners that anyone may give files to: this user."""
    (tmp_path / "nginx" / "stack").mkdir(parents=True)
    for name in PLACE:
        (tmp_path / "nginx" / "stack" / name).write_text(f"# {name}\n")
    (tmp_path / "monitoring" / "prometheus").mkdir(parents=True)
    (tmp_path / "monitoring" / "prometheus" / "prometheus.yml").write_text("# scrapes\n")
    for name in ("MYSQL", "SERVICE", "NOBODY"):
        monkeypatch.setattr(stack_init, name, os.geteuid())
    monkeypatch.setattr(stack_init, "VOLUMES", {})
    return tmp_path


def read(project: Path) -> dict[str, str]:
    """All secrets by their paths."""
    return {
        str(path.relative_to(project / ".secrets")): path.read_text()
        for path in (project / ".secrets").rglob("*")
        if path.is_file()
    }


def test_missing_passwords_are_made_long_and_each_of_its_own() -> None:
    """Readers of one password are given the same one."""
    made = {file.path: file.content for file in passwords({}, {})}
    assert all(len({made[path] for path in paths}) == 1 for paths in PASSWORDS.values())
    assert len({made[paths[0]] for paths in PASSWORDS.values()}) == len(PASSWORDS)
    assert all(len(each) >= 32 for each in made.values())


def test_a_setting_wins_over_a_file_and_a_file_over_a_new_password() -> None:
    """For all readers of it."""
    there = {"host/mysql_password": "from-file", "mysql/root_password": "kept"}
    made = {file.path: file.content for file in passwords({"MYSQL_PASSWORD": "given"}, there)}
    assert {made["host/mysql_password"], made["migrate/host_password"]} == {"given"}
    assert {made["mysql/root_password"], made["migrate/root_password"]} == {"kept"}


def test_init_makes_what_is_missing_and_the_second_time_nothing(project: Path) -> None:
    """Secrets, NGINX's files, the folder for the pipeline's metrics."""
    changes = init(project, project / "volumes")
    before = read(project)
    assert ".secrets/mysql/root_password written" in changes
    assert {".stack/nginx/" + name + " written" for name in PLACE} <= set(changes)
    assert (project / "logs" / "metrics").is_dir()
    assert init(project, project / "volumes") == []
    assert read(project) == before


def test_what_is_in_service_can_be_read_by_the_retraining_of_another_user(project: Path) -> None:
    """Also where an earlier init closed the folder."""
    (project / ".stack").mkdir(mode=0o700)
    init(project, project / "volumes")
    assert stat.S_IMODE((project / ".stack").stat().st_mode) == 0o755


def test_secrets_can_be_read_by_their_owner_alone(project: Path) -> None:
    """Folders 0700, files 0400."""
    init(project, project / "volumes")
    found = [(project / ".secrets"), *(project / ".secrets").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o400}


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_what_containers_read_is_readable_whatever_the_umask_of_the_clone_was(project: Path, umask: int) -> None:
    """Folders, files and scripts of `nginx/` and `monitoring/`; nothing else gets another mode, a second start changes none."""
    (project / ".env").write_text("MYSQL_PASSWORD=given\n")
    script = project / "nginx" / "stack" / "start.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    clone(project, umask)
    others = modes(project) - modes(project / "nginx") - modes(project / "monitoring")
    reported = init(project, project / "volumes")
    assert [line for line in reported if "readable" in line] == [
        "nginx/ made readable for the containers",
        "monitoring/ made readable for the containers",
    ]
    configuration = [*modes(project / "nginx"), *modes(project / "monitoring")]
    assert [(path, oct(mode)) for path, mode in configuration if mode & 0o055 != (0o055 if mode & 0o100 else 0o044)] == []
    assert script.stat().st_mode & 0o777 == 0o755 | (0o700 & ~umask)
    assert modes(project) >= others
    before = modes(project)
    assert init(project, project / "volumes") == []
    assert modes(project) == before


def clone(folder: Path, umask: int) -> None:
    """Give a folder the modes that a clone under `umask` would have given it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~umask)


def modes(folder: Path) -> set[tuple[Path, int]]:
    """The modes of a folder and of all in it."""
    return {(path, stat.S_IMODE(path.stat().st_mode)) for path in (folder, *folder.rglob("*"))}


def test_a_link_out_of_the_configuration_is_not_followed(project: Path) -> None:
    """What it leads to may be a secret."""
    secret = project / "private"
    secret.write_text("secret")
    secret.chmod(0o600)
    (project / "nginx" / "link").symlink_to(secret)
    init(project, project / "volumes")
    assert secret.stat().st_mode & 0o777 == 0o600


def test_configuration_that_cannot_be_made_readable_stops_the_start_with_the_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a file system that keeps its own modes: the line names the file and what to run."""
    conf = project / "nginx" / "stack" / "main.conf"
    conf.chmod(0o600)

    def refuse(path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    assert init(project, project / "volumes")
    conf.chmod(0o600)
    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    monkeypatch.setattr(stack_init, "_make_folder", lambda *_: None)
    monkeypatch.setattr(stack_init, "_write", lambda *_: False)
    assert main([str(project)]) == 1
    error = capsys.readouterr().err
    assert str(conf) in error
    assert "chmod -R a+rX nginx monitoring" in error


def test_the_upstream_is_left_as_the_release_keeps_it(project: Path) -> None:
    """The other files of NGINX's place follow the project."""
    init(project, project / "volumes")
    (project / ".stack" / "nginx" / "upstream.conf").write_text("# stable-1 is drained\n")
    (project / "nginx" / "stack" / "listen.conf").write_text("# another port\n")
    assert init(project, project / "volumes") == [".stack/nginx/listen.conf written"]
    assert (project / ".stack" / "nginx" / "upstream.conf").read_text() == "# stable-1 is drained\n"


def test_values_of_the_env_file_are_used(project: Path) -> None:
    """Also for Alertmanager's channels."""
    (project / ".env").write_text(
        "MYSQL_PASSWORD=given\nMYSQL_USER=somebody\nSLACK_WEBHOOK_URL=https://hooks.example/T1\nSMTP_HOST=\n"
    )
    init(project, project / "volumes")
    secrets = read(project)
    assert {secrets["host/mysql_password"], secrets["migrate/host_password"]} == {"given"}
    assert secrets["host/mysql_user"] == "somebody"
    assert secrets["alertmanager/slack_webhook_url"] == "https://hooks.example/T1"
    assert "hooks.example" not in secrets["alertmanager/alertmanager.yml"]


FRESH = "FRESH=true\nCOMPOSE_PROFILES=fresh\nKAFKA_BOOTSTRAP_SERVERS=broker:9092\n"


def test_followers_get_what_the_broker_asks_for_and_lose_it_with_the_setting(project: Path) -> None:
    """The password, and certificates of the project's folder. Without freshness nothing."""
    (project / "ca.crt").write_text("an authority\n")
    security = "KAFKA_SECURITY_PASSWORD=x y\nKAFKA_SECURITY_CA_FILE=ca.crt\n"
    (project / ".env").write_text(security)
    init(project, project / "volumes")
    assert [path for path in read(project) if path.startswith("fresh/")] == []
    (project / ".env").write_text(FRESH + security)
    init(project, project / "volumes")
    secrets = read(project)
    assert (secrets["fresh/password"], secrets["fresh/ca.pem"]) == ("x y", "an authority\n")
    assert init(project, project / "volumes") == []
    (project / ".env").write_text(FRESH)
    init(project, project / "volumes")
    assert [path for path in read(project) if path.startswith("fresh/")] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("FRESH=true\n", "freshness needs both FRESH=true and COMPOSE_PROFILES=fresh: set both, or none"),
        ("COMPOSE_PROFILES=other,fresh\n", "freshness needs both FRESH=true and COMPOSE_PROFILES=fresh: set both, or none"),
        (FRESH.replace("broker:9092", ""), "freshness needs KAFKA_BOOTSTRAP_SERVERS, with an address that containers reach"),
        (f"{FRESH}KAFKA_SECURITY_CA_FILE=/etc/ca.pem\n", "KAFKA_SECURITY_CA_FILE: freshness needs a path within the project"),
        (f"{FRESH}KAFKA_SECURITY_KEY_FILE=key.der\n", "KAFKA_SECURITY_KEY_FILE: key.der is not PEM, which is text"),
    ],
)
def test_settings_of_freshness_that_do_not_fit_stop_the_start(project: Path, settings: str, message: str) -> None:
    """With the setting and what to do."""
    (project / "key.der").write_bytes(b"\x30\x82\xff")
    (project / ".env").write_text(settings)
    with pytest.raises(EnvFileError, match=message):
        init(project, project / "volumes")


def test_a_secret_that_is_there_but_empty_stops_the_start_with_its_name(project: Path) -> None:
    """Nothing is written over it."""
    init(project, project / "volumes")
    path = project / ".secrets" / "mysql" / "root_password"
    path.chmod(0o600)
    path.write_text("")
    with pytest.raises(SecretError, match="mysql/root_password"):
        init(project, project / "volumes")
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "spoil", "status", "message"),
    [
        ([], "", 2, "use: "),
        (["."], "SMTP_HOST=mail.example\n", 2, "init: MAIL_FROM"),
        (["."], "# K\udce4se\n", 2, "init: .env: line 1 is not UTF-8"),
        (["."], "\nMYSQL_USER: me\n", 2, "init: .env: line 2 cannot be read"),
        (["."], "SHIP_BATCH=50\n", 0, "init: no setting, without effect: SHIP_BATCH"),
        (["."], "MYSQL_USR=me\n", 0, "init: .env: unknown setting, without effect: MYSQL_USR (did you mean MYSQL_USER?)"),
        (["."], "", 0, ""),
    ],
)
def test_the_command_ends_as_the_contracts_say(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    spoil: str,
    status: int,
    message: str,
) -> None:
    """One line on standard error where it cannot do it."""
    monkeypatch.chdir(project)
    (project / ".env").write_text(spoil, "utf-8", "surrogateescape")
    (project / ".env.example").write_text("# MYSQL_USER=\n")
    assert main(arguments) == status
    assert capsys.readouterr().err.startswith(message)
