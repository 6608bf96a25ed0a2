"""joblib and SciPy over Dask and Ray: the values that they give by themselves, and batches on the engine's workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from scipy.optimize import differential_evolution

from anabranch import DaskRunner, RayRunner
from tests.acceptance.sessions import made, placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(240), pytest.mark.sampled(4, "each starts an engine")]
MAKE: dict[str, Callable[[], Any]] = {
    "dask": lambda: DaskRunner(n_workers=2, threads_per_worker=1),
    "ray": lambda: RayRunner(num_cpus=2),
}


@pytest.fixture(params=list(MAKE))
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    one = MAKE[request.param]()
    with made("thread", tmp_path) as session, placed(session), one:
        yield one


def where(x: int) -> tuple[int, int]:
    return x * x, os.getpid()


def valley(x: Any) -> float:
    return float(np.sum((x - 1) ** 2))


def test_joblib_and_scipy_compute_there_what_they_compute_alone(runner: Any) -> None:
    with parallel_config("anabranch", runner=runner, inner_max_num_threads=1):
        found = Parallel()(delayed(where)(x) for x in range(20))
    assert [value for value, _ in found] == [x * x for x in range(20)]
    assert os.getpid() not in {pid for _, pid in found}
    kinds: dict[str, Any] = {"maxiter": 6, "popsize": 6, "rng": 5, "updating": "deferred", "polish": False}
    with runner.executor() as executor:
        ours = differential_evolution(valley, [(-3, 3)] * 3, workers=executor.map, **kinds)
    alone = differential_evolution(valley, [(-3, 3)] * 3, **kinds)
    assert ours.x.tolist() == alone.x.tolist()
    assert (ours.fun, ours.nfev) == (alone.fun, alone.nfev)
