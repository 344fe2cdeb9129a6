"""`python -m app.stack.init PROJECT`: makes what the stack's containers need before they start, if it is missing.

It makes the secrets under `.secrets/`, with one folder for each reader (owned by the reader, mode 0700), and NGINX's files
under `.stack/nginx/`. It sets the owners of volumes. It makes the configuration readable for the containers, whatever the umask
of the clone was. A value in `.env` wins over a file, and a file over a new secret. An empty or unreadable file stops the
start. The command runs as root, without a network, and ends.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.env_file import EnvFileError, ignored_names, read_env_file, unknown_names
from app.provenance import SecretError, read_secret
from app.provenance.schema import HOST
from app.settings import SECRET_FILES
from app.stack.alertmanager import AlertingError, files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The users of the containers, as in docker-compose.yml. The host side runs as the owner of the project.
MYSQL, SERVICE, NGINX, NOBODY = 999, 10001, 101, 65534
VOLUMES = {
    "nginx-logs": NGINX,
    "journals": SERVICE,
    "fresh": SERVICE,
    "prometheus": NOBODY,
    "alertmanager": NOBODY,
    "mysql": MYSQL,
}
PLACE = ("main.conf", "http.conf", "listen.conf", "upstream.conf")
# The project's folders that the users of containers read. They have no secrets: all of it is in git.
CONFIGURATION = ("nginx", "monitoring")
# The reports of versions, for the console. The parts in this folder keep their modes: they have what users watched.
REPORTS = Path("data") / "versioning"
# Each password's setting, and the file of each reader.
PASSWORDS = {
    "MYSQL_ROOT_PASSWORD": ("mysql/root_password", "migrate/root_password"),
    "MYSQL_SERVICE_PASSWORD": ("migrate/service_password", "shipper/mysql_password"),
    "MYSQL_PASSWORD": ("migrate/host_password", "host/mysql_password"),
    "MYSQL_CONSOLE_PASSWORD": ("migrate/console_password", "console/mysql_password"),
}


class SecretFile(NamedTuple):
    """A secret for one reader: the path under `.secrets/`, and the content of the file."""

    path: str
    content: str


def passwords(given: Mapping[str, str], there: Mapping[str, str]) -> list[SecretFile]:
    """The files of all passwords. A password is from the settings in `given`, else from a file in `there`, else new."""
    made = []
    for setting, paths in PASSWORDS.items():
        known = [there[path] for path in paths if path in there]
        value = given.get(setting) or (known[-1] if known else secrets.token_urlsafe(24))
        made += [SecretFile(path, value) for path in paths]
    return made


def init(project: Path, volumes: Path) -> list[str]:
    """Make what is missing. Returns a line for each change. Raises EnvFileError, SecretError, AlertingError or OSError."""
    env_file = project / ".env"
    given = {name: value for name, value in read_env_file(env_file).items() if value}
    for warning in (unknown_names(env_file, given), ignored_names(given)):
        if warning:
            sys.stderr.write(f"init: {warning}\n")
    folder, owner = project / ".secrets", project.stat().st_uid
    services = dict.fromkeys(("migrate", "shipper", "console", "fresh"), SERVICE)
    owners = {"mysql": MYSQL, **services, "host": owner, "alertmanager": NOBODY}
    wanted = [
        *passwords(given, read_files(folder)),
        SecretFile("host/mysql_user", given.get("MYSQL_USER", HOST)),
        *(SecretFile(f"alertmanager/{name}", content) for name, content in files(given).items()),
        *broker_secrets(project, given),
    ]
    _make_folder(folder, owner)
    for name, reader in owners.items():
        _make_folder(folder / name, reader)
    _remove_unwanted(folder, wanted)
    written = [f".secrets/{file.path}" for file in wanted if _write(folder / file.path, file.content, owners[_reader(file)])]
    _make_folder(project / ".stack", owner, 0o755)  # no secrets: the retraining, another user, reads the version in service
    for name in ("nginx", "release"):
        _make_folder(project / ".stack" / name, owner, 0o755)
    logs = project / given.get("LOG_DIR", "logs")
    for path in (logs, logs / "metrics", logs / "console"):
        _make_folder(path, owner, 0o755)
    placed = [f".stack/nginx/{name}" for name in PLACE if _place(project, name, owner)]
    for name, user in VOLUMES.items():
        if (volumes / name).is_dir():
            os.chown(volumes / name, user, user)
    for path in (project / REPORTS.parent, project / REPORTS):
        if not path.exists():
            _make_folder(path, owner, 0o755)
    found = {name: sorted((project / name).rglob("*")) for name in CONFIGURATION}
    found[str(REPORTS)] = sorted((project / REPORTS).glob("report_*.json"))
    opened = [
        f"{name}/ made readable for the containers" for name, paths in found.items() if _make_readable([project / name, *paths])
    ]
    return [*(f"{name} written" for name in (*written, *placed)), *opened]


def broker_secrets(project: Path, given: Mapping[str, str]) -> list[SecretFile]:
    """What the broker asks `app.fresh` for. Raises EnvFileError for settings that do not fit together, OSError."""
    is_on = given.get("FRESH", "").lower() in {"true", "1", "yes", "on"}
    if is_on != ("fresh" in given.get("COMPOSE_PROFILES", "").split(",")):
        raise EnvFileError(".env: freshness needs both FRESH=true and COMPOSE_PROFILES=fresh: set both, or none")
    if not is_on:
        return []
    if "KAFKA_BOOTSTRAP_SERVERS" not in given:
        raise EnvFileError(".env: freshness needs KAFKA_BOOTSTRAP_SERVERS, with an address that containers reach")
    found = {name: given[setting.upper()] for name, setting in SECRET_FILES.items() if setting.upper() in given}
    for name, value in found.items():
        if name.endswith(".pem"):
            if Path(value).is_absolute():
                raise EnvFileError(f".env: {SECRET_FILES[name].upper()}: freshness needs a path within the project's folder")
            try:
                found[name] = (project / value).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise EnvFileError(f".env: {SECRET_FILES[name].upper()}: {value} is not PEM, which is text") from error
    return [SecretFile(f"fresh/{name}", content) for name, content in found.items()]


def read_files(folder: Path) -> dict[str, str]:
    """The passwords in existing files, by path. Raises SecretError for an empty or unreadable file."""
    paths = [path for each in PASSWORDS.values() for path in each]
    return {path: read_secret(folder / path) for path in paths if (folder / path).exists()}


def _remove_unwanted(folder: Path, wanted: Sequence[SecretFile]) -> None:
    """Remove what the broker no longer asks for."""
    for name in {f"fresh/{each}" for each in SECRET_FILES} - {file.path for file in wanted}:
        (folder / name).unlink(missing_ok=True)


def _reader(file: SecretFile) -> str:
    return file.path.partition("/")[0]


def _make_folder(path: Path, owner: int, mode: int = 0o700) -> None:
    path.mkdir(exist_ok=True)
    os.chown(path, owner, owner)
    path.chmod(mode)


def _make_readable(paths: Sequence[Path]) -> bool:
    """Let every user read files, and enter folders. Returns whether a mode was changed.

    A clone made under `umask 077` or `027` has files that only their owner can read. git keeps no mode except the owner's `x`.
    Raises OSError, whose text says what to do.
    """
    changed = False
    for path in paths:
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444)
        if wanted != mode:
            try:
                path.chmod(wanted)
            except OSError as error:
                names = " ".join((*CONFIGURATION, f"{REPORTS}/report_*"))
                hint = f"{error.strerror}, and the containers cannot read it (run: chmod -R a+rX {names})"
                raise OSError(error.errno, hint, str(path)) from error
            changed = True
    return changed


def _write(path: Path, content: str, owner: int) -> bool:
    """Replace a secret's file, unless it has this content. Returns whether it was written."""
    is_there = path.exists() and path.read_text(encoding="utf-8") in (content, f"{content}\n")
    if not is_there:
        aside = path.with_name(f".{path.name}.new")
        aside.unlink(missing_ok=True)
        aside.touch(mode=0o400)
        aside.write_text(content, encoding="utf-8")
        aside.rename(path)
    os.chown(path, owner, owner)
    path.chmod(0o400)
    return not is_there


def _place(project: Path, name: str, owner: int) -> bool:
    """Write one of NGINX's files to `.stack/nginx/`. An existing upstream.conf stays, because the release changes it."""
    path = project / ".stack" / "nginx" / name
    if name == "upstream.conf" and path.exists():
        return False
    return _put(path, (project / "nginx" / "stack" / name).read_text(encoding="utf-8"), owner)


def _put(path: Path, content: str, owner: int) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == content:
        return False
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(content, encoding="utf-8")
    aside.chmod(0o644)
    os.chown(aside, owner, owner)
    aside.rename(path)
    return True


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0, 1 if a file cannot be written, 2 for an unusable secret or setting."""
    if len(arguments) != 1:
        sys.stderr.write("use: python -m app.stack.init PROJECT\n")
        return 2
    try:
        changes = init(Path(arguments[0]), Path("/volumes"))
    except (EnvFileError, SecretError, AlertingError) as error:
        sys.stderr.write(f"init: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"init: {error.filename}: {error.strerror}: repair that and start again\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in changes or ["everything is there already"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
