"""SciPy's `workers=` over executors: the values of a serial run, and the user's own errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import brute, differential_evolution

from anabranch import ProcessRunner, ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch import session as sessions

MAKE: dict[str, Callable[[], Any]] = {"thread": lambda: ThreadRunner(2), "process": lambda: ProcessRunner(2)}
KINDS = ["thread", pytest.param("process", marks=pytest.mark.sampled(3, "SciPy in each worker"))]
BOUNDS = [(-3.0, 3.0)] * 3


def valley(x: Any) -> float:
    return float(np.sum((x - 1) ** 2) + np.prod(np.cos(x)))


def wrong(x: Any) -> float:
    return float(x + None)


def evolved(workers: Any) -> tuple[list[float], float, int]:
    found = differential_evolution(
        valley, BOUNDS, maxiter=12, popsize=6, rng=5, updating="deferred", polish=False, workers=workers
    )
    return found.x.tolist(), float(found.fun), int(found.nfev)


@pytest.mark.parametrize("kind", KINDS)
def test_an_evolution_is_that_of_one_worker(fresh_session: sessions.Session, kind: str) -> None:
    with MAKE[kind]().executor() as executor:
        assert evolved(executor.map) == evolved(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_by_brute_force(fresh_session: sessions.Session, kind: str) -> None:
    with MAKE[kind]().executor() as executor:
        ours = brute(valley, BOUNDS, Ns=6, finish=None, workers=executor.map)
    assert np.array_equal(ours, brute(valley, BOUNDS, Ns=6, finish=None))


@pytest.mark.parametrize("kind", KINDS)
def test_a_type_error_of_the_users_is_the_cause(fresh_session: sessions.Session, kind: str) -> None:
    with MAKE[kind]().executor() as executor, pytest.raises(RuntimeError) as caught:
        differential_evolution(wrong, BOUNDS, maxiter=2, updating="deferred", workers=executor.map)
    assert isinstance(caught.value.__cause__, TypeError)
    assert "NoneType" in str(caught.value.__cause__)
