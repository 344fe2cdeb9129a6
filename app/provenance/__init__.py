"""Which version answered which user: the tables, and the only code that knows the database."""

from __future__ import annotations

from app.provenance.ledger import DatabaseError, Ledger, SchemaError
from app.provenance.mysql import SecretError, checked_url, error_number, mysql_url, read_secret
from app.provenance.tables import TrackingRow, tracking_row, with_times

__all__ = [
    "DatabaseError",
    "Ledger",
    "SchemaError",
    "SecretError",
    "TrackingRow",
    "checked_url",
    "error_number",
    "mysql_url",
    "read_secret",
    "tracking_row",
    "with_times",
]
