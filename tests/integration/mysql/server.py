"""A real MySQL in a container of the tests' own, and databases in it that the project's own migrations make."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import mysql.connector
from mysql.connector.connection import MySQLConnection

from app.provenance import mysql_url
from scripts.ports import reserve
from tests.integration.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "mysql:9.7.0"
ROOT_PASSWORD, SERVICE_PASSWORD, HOST_PASSWORD = "root's own", "of/the:service", 'host "100%"'
START_SECONDS = 60.0
# Nothing in here outlives the machine: durability would only cost time.
FAST = (
    "--disable-log-bin",
    "--innodb-redo-log-capacity=16M",
    "--skip-innodb-doublewrite",
    "--innodb-flush-log-at-trx-commit=2",
)


class NoEngineError(Exception):
    """There is no engine, or it has no MySQL."""


def docker(*arguments: str, seconds: float = 60.0) -> str:
    """One call of the client that the project uses; what it printed. Raises NoEngineError where it fails."""
    found = subprocess.run(
        [str(ROOT / "scripts" / "lib" / "docker.sh")], capture_output=True, text=True, timeout=60, check=False
    )
    if found.returncode:
        raise NoEngineError(f"needs a Docker engine (scripts/dev engine): {found.stderr.strip()}")
    command = [found.stdout.strip(), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise NoEngineError(f"docker {arguments[0]} failed (scripts/dev images?): {done.stderr.strip()}")
    return done.stdout.strip()


class Server:
    """The container. Its data outlives a restart, not the tests."""

    def __init__(self) -> None:
        (self.port,) = reserve()
        self.name = f"movierec-test-mysql-{os.getpid()}-{self.port}"

    def start(self) -> None:
        """Start it and wait until root can log in."""
        self.run()
        self.wait()

    def run(self, *options: str) -> None:
        """Start it, with more options of mysqld's."""
        docker("image", "inspect", IMAGE)
        run_options = ["--env", f"MYSQL_ROOT_PASSWORD={ROOT_PASSWORD}", "--publish", f"127.0.0.1:{self.port}:3306"]
        docker("run", "--detach", "--name", self.name, *run_options, IMAGE, *FAST, *options)

    def wait(self) -> None:
        """Wait until root can log in."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect(None, "root", ROOT_PASSWORD).close()
            except mysql.connector.Error:
                assert time.monotonic() < until, docker("logs", "--tail", "20", self.name)
            else:
                return
            time.sleep(0.2)

    def remove(self) -> None:
        """End it, with its data."""
        docker("rm", "--force", "--volumes", self.name)

    def connect(self, database: str | None, user: str, password: str) -> MySQLConnection:
        """A connection as a test's own client makes it."""
        return MySQLConnection(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=password,
            database=database,
            connection_timeout=5,
            autocommit=True,
        )


class Database:
    """A database with secrets in files, as the stack has them."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.name = f"movierec_{secrets.token_hex(4)}"
        self.folder = folder
        self.settings = {
            "MYSQL_PORT": str(server.port),
            "MYSQL_DATABASE": self.name,
            "MYSQL_ROOT_PASSWORD_FILE": self.secret("root_password", ROOT_PASSWORD),
            "SERVICE_PASSWORD_FILE": self.secret("service_password", SERVICE_PASSWORD),
            "HOST_PASSWORD_FILE": self.secret("host_password", HOST_PASSWORD),
            "PROVENANCE_KEEP_DAYS": "3",
            "MODEL_DIR": str(folder / "no-model"),
        }

    def secret(self, name: str, content: str) -> str:
        """Write a secret's file; its path."""
        path = self.folder / name
        path.write_text(f"{content}\n")
        return str(path)

    def process(self, module: str, **settings: str) -> subprocess.Popen[bytes]:
        """A command of the project, with the settings of this database only."""
        return subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.settings, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, module: str, stdin: bytes | None = None, **settings: str) -> tuple[int, str, str]:
        """The command to its end: status, output, errors."""
        process = self.process(module, **settings)
        output, errors = process.communicate(stdin, timeout=120)
        return process.returncode, output.decode(), errors.decode()

    def migrate(self, **settings: str) -> None:
        """Bring it up to date."""
        status, _, errors = self.run("app.migrate", None, **settings)
        assert status == 0, errors

    def ask(self, query: str, *values: str | int, user: str = "root", password: str = ROOT_PASSWORD) -> list[tuple[Any, ...]]:
        """The result of a query that does not use the project's code."""
        with closing(self.server.connect(self.name, user, password)) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def url(self, user: str, password: str) -> str:
        """The database as the project's own code reaches it."""
        return mysql_url("127.0.0.1", self.server.port, self.name, user, password)

    @property
    def service(self) -> str:
        """The URL of the services' account."""
        return self.url("movierec_service", SERVICE_PASSWORD)

    @property
    def host(self) -> str:
        """The URL of the host side's account."""
        return self.url("movierec_host", HOST_PASSWORD)

    def days(self) -> list[str]:
        """The names of the partitions, oldest first."""
        query = "select partition_name from information_schema.partitions where table_schema = %s and table_name = 'reccom'"
        return [name for (name,) in self.ask(f"{query} order by partition_ordinal_position", self.name)]

    def drop(self) -> None:
        """Remove it."""
        self.ask(f"drop database if exists {self.name}")
