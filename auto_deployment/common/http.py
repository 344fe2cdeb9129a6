"""HTTP for calls to our own services."""

from __future__ import annotations

import ssl

import requests


def internal_session() -> requests.Session:
    """A session that ignores the proxies of the environment: they do not know the way to our own services.

    Certificates are checked by the machine's own authorities, or by those of `SSL_CERT_FILE`.
    """
    session, authorities = requests.Session(), ssl.get_default_verify_paths()
    session.trust_env = False
    session.verify = authorities.cafile or authorities.capath or True
    return session


def reason_of(error: requests.RequestException) -> str:
    """Why a call failed, such as `Read timed out. (read timeout=5.0)`: without the library's objects and the URL."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", inner)).partition("): ")[2] or type(error).__name__


def is_ready(url: str, seconds: float) -> bool:
    """Whether the service at `url` answers `/readyz` with status 200 within `seconds`."""
    try:
        with internal_session() as session:
            return session.get(f"{url}/readyz", timeout=seconds).status_code == 200
    except requests.RequestException:
        return False
