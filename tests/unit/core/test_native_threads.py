"""The variables that keep the libraries under NumPy to a worker's processors."""

from __future__ import annotations

import pytest

from anabranch.core.native_threads import COUNTED, VARIABLES, limits

SHARES = [(8, 2, "4"), (8, 3, "2"), (2, 4, "1"), (1, 1, "1"), (4, 0, "4")]


@pytest.mark.parametrize(("cpus", "workers", "share"), SHARES)
def test_processors_are_shared_evenly(cpus: int, workers: int, share: str) -> None:
    found = limits({}, cpus, workers)
    assert found == {**dict.fromkeys((*VARIABLES, COUNTED), share), "ENABLE_IPC": "1"}


def test_what_the_environment_says_stays() -> None:
    found = limits({"OMP_NUM_THREADS": "3", "ENABLE_IPC": "0"}, 8, 2)
    assert "OMP_NUM_THREADS" not in found
    assert "ENABLE_IPC" not in found
    assert found["MKL_NUM_THREADS"] == "4"


def test_a_chosen_number_wins() -> None:
    assert limits({"OMP_NUM_THREADS": "3"}, 8, 2, 5)["OMP_NUM_THREADS"] == "5"
