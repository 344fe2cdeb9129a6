from __future__ import annotations

import pytest

from auto_deployment.common.errors import RefusedError, RunError, WrongUseError


@pytest.mark.parametrize(("kind", "status"), [(RunError, 1), (WrongUseError, 2), (RefusedError, 3)])
def test_each_end_has_its_exit_status(kind: type[RunError], status: int) -> None:
    """Failed, wrong use, refused, as the commands' contract numbers them; each can be caught as an end of the run."""
    error = kind("what to do")
    assert error.status == status
    assert str(error) == "what to do"
    assert isinstance(error, RunError)
