from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from auto_deployment.common.blas import one_thread


def threads() -> set[int]:
    """How many each of the linear algebra's libraries may take."""
    assert np.eye(3).sum() == 3
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_linear_algebra_takes_one_thread_and_then_what_it_had() -> None:
    """Whatever the machine has."""
    with threadpool_limits(2, "blas"):
        assert one_thread()(threads)() == {1}
        assert threads() == {2}
