"""The configuration of this machine that stand-ins use: certificates, the index of pip, and the Debian source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from auto_deployment.common.errors import RunError
from scripts.lib.images.docker import ROOT, run

BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
IN_IMAGE = "/etc/ssl/certs/ca-certificates.crt"
ASK_SECONDS = 60.0


def describe(folder: Path) -> None:
    """Fill `folder` with `ca-certificates.crt`, `pip.conf` and `sid.sources`. Raises RunError if a part is missing."""
    shutil.copyfile(_bundle(), folder / "ca-certificates.crt")
    (folder / "pip.conf").write_text(pip_conf(_index()))
    sources = [str(ROOT / "scripts" / "lib" / "debian-sources.sh"), "sid"]
    (folder / "sid.sources").write_text(run(sources, timeout=ASK_SECONDS))


def pip_conf(index: str) -> str:
    """The settings of pip in a stand-in. An index with a password is left out: an image must not contain a password."""
    lines = ["[global]", f"cert = {IN_IMAGE}"]
    if index and "@" not in urlsplit(index).netloc:
        lines.append(f"index-url = {index}")
    return "\n".join(lines) + "\n"


def _bundle() -> Path:
    for path in (os.environ.get("SSL_CERT_FILE", ""), *BUNDLES):
        if path and Path(path).is_file():
            return Path(path)
    raise RunError("this machine has no bundle of certificates: install ca-certificates")


def _index() -> str:
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    return os.environ.get("PIP_INDEX_URL", "") or configured.stdout.strip()
