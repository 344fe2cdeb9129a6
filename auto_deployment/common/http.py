"""HTTP for calls to our own services."""

from __future__ import annotations

import requests


def internal_session() -> requests.Session:
    """A session that ignores the proxies of the environment: they do not know the way to our own services."""
    session = requests.Session()
    session.trust_env = False
    return session


def is_ready(url: str, seconds: float) -> bool:
    """Whether the service at `url` answers `/readyz` with status 200 within `seconds`."""
    try:
        with internal_session() as session:
            return session.get(f"{url}/readyz", timeout=seconds).status_code == 200
    except requests.RequestException:
        return False
