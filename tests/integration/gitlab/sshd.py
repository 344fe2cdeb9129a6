"""A real sshd on the loopback address, with keys of the test's own and a user `deploy` that only it knows.

It runs in a mount namespace with a passwd file of its own: the machine gets no user. `deploy` has the number of whoever runs
the tests, so every file is at hand.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.ports import reserve
from tests.integration.gitlab.tools import debian, library_path

if TYPE_CHECKING:
    from typing import IO

START_SECONDS = 20.0
USER = "deploy"
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/home/.ssh/authorized_keys
AuthenticationMethods publickey
UsePAM no
PidFile none
Subsystem sftp internal-sftp
PermitRootLogin forced-commands-only
"""
START = """\
set -eu
[ -d /run/sshd ] || mkdir /run/sshd
mount --bind "$1/passwd" /etc/passwd
export LD_LIBRARY_PATH="$3"
exec "$2" -D -e -f "$1/config"
"""


class Sshd:
    """The server. `keys` holds the private keys, `known_hosts` names it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = reserve()
        self.known_hosts = folder / "known_hosts"
        self.home = folder / "home"
        (self.home / ".ssh").mkdir(parents=True)
        self.home.chmod(0o700)
        self._log: IO[bytes] = (folder / "log").open("wb")
        self._make_key("host_key")
        host_key = (folder / "host_key.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder))
        users = [line for line in Path("/etc/passwd").read_text().splitlines() if line.split(":")[0] not in {USER, "sshd"}]
        users.append("sshd:x:74:65534::/run/sshd:/usr/sbin/nologin")
        users.append(f"{USER}:x:{os.getuid()}:{os.getgid()}::{self.home}:/bin/bash")
        (folder / "passwd").write_text("\n".join(users) + "\n")
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        inside = ["unshare", "--mount", "--propagation", "private", *([] if os.getuid() == 0 else ["--map-root-user"])]
        command = ["bash", "-c", START, "start", str(self.folder), str(debian("sshd")), library_path()]
        process = subprocess.Popen([*inside, *command], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while "Server listening" not in self.log():
            assert process.poll() is None, self.log()
            assert time.monotonic() < until, f"sshd did not start: {self.log()}"
            time.sleep(0.05)
        return process

    def allow(self, name: str, command: str) -> Path:
        """Let a new key run one command and nothing else; the private key's file."""
        key = self._make_key(name)
        line = f'restrict,command="{command}" {key.with_suffix(".pub").read_text()}'
        with (self.home / ".ssh" / "authorized_keys").open("a") as allowed:
            allowed.write(line)
        Path(allowed.name).chmod(0o600)
        return key

    def log(self) -> str:
        """Its log."""
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        """End it and what it serves just now."""
        self._process.terminate()
        self._process.wait(START_SECONDS)
        self._log.close()

    def _make_key(self, name: str) -> Path:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], timeout=60, check=True)
        return path
