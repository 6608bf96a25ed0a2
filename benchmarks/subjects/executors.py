"""Other libraries on our runners: executors beside CPython's, joblib beside loky, SciPy's `workers`."""

from __future__ import annotations

import functools
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.measure import WORKERS, expect_sum, flush, inc, percentile, runner_of
from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable

POOLS: dict[str, type[Executor]] = {"threads": ThreadPoolExecutor, "processes": ProcessPoolExecutor}
CHUNK = 500
LOKY = "joblib's own loky"


def executor(kind: str) -> Executor:
    made: Executor = runner_of(kind).executor()
    return made


def pool(kind: str) -> Executor:
    made: Any = POOLS[kind]
    opened: Executor = made(WORKERS)
    return opened


def trips(make: Callable[[], Executor], quick: bool) -> Figures:
    """One call at a time, from submit to its value."""
    with make() as one:
        expect_sum(one.map(inc, range(64)), 64)
        found = []
        for i in range(300 if quick else 3_000):
            start = time.perf_counter()
            if one.submit(inc, i).result() != i + 1:
                raise AssertionError("wrong value")
            found.append((time.perf_counter() - start) * 1e6)
    found.sort()
    return {"p50_us": percentile(found, 0.5), "p99_us": percentile(found, 0.99)}


def mapped(make: Callable[[], Executor], n: int, ours: bool, chunk: int, quick: bool) -> Figures:
    """A map of no-ops to its last value, and ours to the record's last commit."""
    n = n // 10 if quick else n
    with make() as one:
        expect_sum(one.map(inc, range(64)), 64)
        start = time.perf_counter()
        expect_sum(one.map(inc, range(n), chunksize=chunk), n)
        if ours:
            flush()
        return {"rate": n / (time.perf_counter() - start)}


def searched(backend: dict[str, Any], quick: bool) -> Figures:
    """A search of 30 settings in 5 parts of scikit-learn's digits, after a small one has started the workers."""
    from joblib import parallel_config
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    import anabranch  # noqa: F401  (it makes its backend known to joblib)

    x, y = load_digits(return_X_y=True)
    grid = {"C": [0.1, 1, 10], "gamma": [1e-4, 1e-3] if quick else [10.0**-e for e in range(1, 11)]}
    with parallel_config(**backend):
        GridSearchCV(SVC(), {"C": [1, 2]}, n_jobs=WORKERS).fit(x[:200], y[:200])
        start = time.perf_counter()
        found = GridSearchCV(SVC(), grid, n_jobs=WORKERS).fit(x, y)
        seconds = time.perf_counter() - start
    if found.best_score_ < 0.9:
        raise AssertionError(f"the search found {found.best_score_}")
    return {"wall_s": seconds}


def searched_ours(quick: bool) -> Figures:
    return searched({"backend": "anabranch", "runner": runner_of("processes")}, quick)


def searched_loky(quick: bool) -> Figures:
    return searched({"backend": "loky"}, quick)


def heavy(x: Any) -> float:
    """Rosenbrock's function, after a small factorization."""
    import numpy
    from scipy.optimize import rosen

    numpy.linalg.svd(numpy.full((40, 40), x[0]) + numpy.eye(40))
    return float(rosen(x))


def evolved(workers: Callable[..., Any] | int, quick: bool) -> Figures:
    """SciPy's differential evolution, 40 generations of 75; the minimum is the same, whoever computes."""
    from scipy.optimize import differential_evolution

    start = time.perf_counter()
    found = differential_evolution(
        heavy, [(-2, 2)] * 5, updating="deferred", workers=workers, rng=1, maxiter=4 if quick else 40, tol=0,
        polish=False,
    )  # fmt: skip
    return {"wall_s": time.perf_counter() - start, "minimum": float(found.fun)}


def evolved_ours(quick: bool) -> Figures:
    with executor("processes") as one:
        list(one.map(inc, range(64)))
        return evolved(one.map, quick)


def evolved_pool(quick: bool) -> Figures:
    """The standard library's pool, whose workers are up: what SciPy makes of `workers=2`, without its start."""
    import multiprocessing

    with multiprocessing.Pool(WORKERS) as one:
        one.map(inc, range(64))
        return evolved(one.map, quick)


def evolved_alone(quick: bool) -> Figures:
    return evolved(1, quick)


def _trip(kind: str) -> Row:
    return Row(
        f"executor_trip_{kind}", f"`.executor()`: submit to result, one at a time, {kind}",
        functools.partial(trips, functools.partial(executor, kind)),
        (Bar("p50_us", "us"), Bar("p99_us", "us")),
        peer=functools.partial(trips, functools.partial(pool, kind)), peer_name=POOLS[kind].__name__, most=3,
        unfair="the peer keeps no record",
    )  # fmt: skip


def _map(kind: str) -> Row:
    n = 100_000
    by_hand = f"{POOLS[kind].__name__}.map, chunksize {CHUNK}"
    return Row(
        f"executor_map_{kind}", f"`.executor()`: map of 100k no-ops, {kind}",
        functools.partial(mapped, functools.partial(executor, kind), n, True, 1),
        (Bar("rate", "items/s"),),
        peer=functools.partial(mapped, functools.partial(pool, kind), n // 5, False, 1),
        peer_name=f"{POOLS[kind].__name__}.map of 20k",
        others={by_hand: functools.partial(mapped, functools.partial(pool, kind), n, False, CHUNK)}
        if kind == "processes" else {},
        most=3, unfair="the peer keeps no record",
    )  # fmt: skip


ALONE = "one process, workers=1"
ROWS = (
    *map(_trip, POOLS),
    *map(_map, POOLS),
    Row(
        "joblib_search", "GridSearchCV of 30 settings, n_jobs=2, processes", searched_ours, (Bar("wall_s", "s"),),
        peer=searched_loky, peer_name=LOKY, most=3, seconds=400.0, unfair="the peer keeps no record",
    ),
    Row(
        "scipy_workers", "differential_evolution with workers=, small calls, processes", evolved_ours,
        (Bar("wall_s", "s"), Bar("minimum", "found")), peer=evolved_pool,
        peer_name="`map` of multiprocessing.Pool, as SciPy uses it for workers=2", others={ALONE: evolved_alone},
        most=3, seconds=400.0, unfair="the peer keeps no record",
    ),
)  # fmt: skip
