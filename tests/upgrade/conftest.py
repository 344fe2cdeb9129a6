"""The MySQL of the integration tests."""

from __future__ import annotations

from tests.integration.mysql.conftest import server

__all__ = ["server"]
