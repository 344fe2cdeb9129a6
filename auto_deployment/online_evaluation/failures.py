"""What may go wrong in telemetry, and fails nothing else."""

from __future__ import annotations

from app.model import ArtifactError
from app.provenance import DatabaseError
from auto_deployment.common.errors import RunError
from auto_deployment.online_evaluation.database import Error

FAILURES = (RunError, DatabaseError, Error, OSError, ArtifactError)


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
