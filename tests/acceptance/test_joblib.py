"""joblib, scikit-learn and SciPy over runners: the values that they give by themselves, and no processors too many."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
import threadpoolctl
from joblib import Parallel, delayed, parallel_backend, parallel_config

from anabranch import ProcessRunner, ThreadRunner, task
from anabranch import session as sessions
from anabranch.core.errors import ConfigurationError
from anabranch.integrations.joblib import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.gates import Gate

MAKE: dict[str, Callable[[], Any]] = {"thread": lambda: ThreadRunner(2), "process": lambda: ProcessRunner(2)}


def square(x: int) -> int:
    return x * x


def inverse(x: int) -> float:
    return 1 / x


def where(_: object) -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def inside(n: int) -> tuple[int, str]:
    """How many batches a nested Parallel may have at a time, and how it runs them."""
    parallel = Parallel(n_jobs=-1)
    found = parallel(delayed(where)(x) for x in range(n))
    return len(set(found)), type(parallel._backend).__name__


@pytest.fixture(params=["thread", pytest.param("process", marks=pytest.mark.sampled(3, "it starts workers for each"))])
def kind(request: pytest.FixtureRequest, fresh_session: sessions.Session) -> Iterator[str]:
    with MAKE[request.param]() as own, parallel_config("anabranch", runner=own):
        yield request.param


def test_it_is_known_whichever_is_imported_first() -> None:
    program = "import {}; import {}; from joblib.parallel import BACKENDS; print('anabranch' in BACKENDS)"
    for first, second in (("anabranch", "joblib"), ("joblib", "anabranch")):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program.format(first, second)], capture_output=True, text=True
        )
        assert done.stdout == "True\n", done.stderr
    alone = "import sys, anabranch; print('joblib' in sys.modules, 'anabranch.integrations' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr


def test_values_come_in_order(kind: str) -> None:
    assert Parallel()(delayed(square)(x) for x in range(100)) == [x * x for x in range(100)]
    lazily = Parallel(return_as="generator")(delayed(square)(x) for x in range(20))
    assert list(lazily) == [x * x for x in range(20)]
    anyhow = Parallel(return_as="generator_unordered")(delayed(square)(x) for x in range(20))
    assert sorted(anyhow) == [x * x for x in range(20)]
    with Parallel() as parallel:
        assert [parallel(delayed(square)(x) for x in range(3)) for _ in range(3)] == [[0, 1, 4]] * 3


def test_no_n_jobs_means_all_workers(kind: str) -> None:
    seen = set(Parallel(batch_size=1)(delayed(where)(x) for x in range(50)))
    assert (os.getpid() in {pid for pid, _ in seen}) == (kind == "thread")
    assert threading.get_ident() not in {thread for pid, thread in seen if pid == os.getpid()}


def test_an_exception_reaches_the_caller_and_the_pool_goes_on(kind: str) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            Parallel()(delayed(inverse)(x - 50) for x in range(100))
        assert Parallel()(delayed(square)(x) for x in range(3)) == [0, 1, 4]


def test_an_iterator_that_raises_is_heard_of(kind: str) -> None:
    def numbers() -> Iterator[int]:
        yield from range(20)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        Parallel()(delayed(square)(x) for x in numbers())


def test_a_time_limit_ends_the_wait(kind: str, gates: Callable[[str], Gate]) -> None:
    go = gates("go")
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2, batch_size=1)(delayed(go.wait)() for _ in range(2))
    go.open()


def test_one_job_runs_in_the_caller(kind: str) -> None:
    assert Parallel(n_jobs=1)(delayed(where)(x) for x in range(2)) == [where(0)] * 2
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(where)(x) for x in range(2))


def test_never_more_batches_than_jobs(fresh_session: sessions.Session) -> None:
    here, most, lock = [0], [0], threading.Lock()

    def count(_: int) -> None:
        with lock:
            here[0] += 1
            most[0] = max(most[0], here[0])
        met.wait()
        with lock:
            here[0] -= 1

    met = threading.Barrier(3)
    with ThreadRunner(8) as own, parallel_config("anabranch", runner=own):
        Parallel(n_jobs=3, batch_size=1, pre_dispatch="all")(delayed(count)(x) for x in range(30))
    assert most == [3]


def test_jobs_are_counted_as_joblib_does(fresh_session: sessions.Session) -> None:
    with ProcessRunner(2) as own:
        backend = Backend(runner=own)
        counted = [backend.effective_n_jobs(n) for n in (None, -1, -2, -9, 1, 2, 5)]
        assert counted == [1, 2, 1, 1, 1, 2, 2]


def test_nested_jobs_do_not_multiply(kind: str) -> None:
    found = Parallel(batch_size=1)(delayed(inside)(8) for _ in range(4))
    assert {how for _, how in found} <= {"SequentialBackend", "ThreadingBackend"}
    share = max(1, joblib.cpu_count() // 2)
    assert max(n for n, _ in found) <= (1 if kind == "thread" else share)


def blas_threads(_: object) -> tuple[set[int], str | None]:
    """How many threads the BLAS under NumPy has, and what a library that is loaded now would read."""
    np.ones((2, 2)) @ np.ones((2, 2))
    found = {int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    return found, os.environ.get("OPENBLAS_NUM_THREADS")


def test_threads_inside_a_batch_are_limited_and_put_back(kind: str) -> None:
    with threadpoolctl.threadpool_limits(2):
        before = Parallel()(delayed(blas_threads)(x) for x in range(4))
        mine = blas_threads(0)
        with parallel_config(backend_around(), inner_max_num_threads=3):
            inside = Parallel()(delayed(blas_threads)(x) for x in range(4))
        after = Parallel()(delayed(blas_threads)(x) for x in range(4))
        assert blas_threads(0) == mine
    assert {frozenset(found) for found, _ in inside} == {frozenset({3})}
    assert {told for _, told in inside} == ({mine[1]} if kind == "thread" else {"3"})
    assert before == after


def backend_around() -> Backend:
    """A backend on the runner of the configuration around this code."""
    around: Any = joblib.parallel.get_active_backend()[0]
    return Backend(runner=around._runner)


def test_without_threadpoolctl_the_way_out_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with (
        parallel_config(backend_around(), inner_max_num_threads=1),
        pytest.raises(ConfigurationError, match="pip install threadpoolctl"),
    ):
        Parallel()(delayed(square)(x) for x in range(4))


def test_shared_memory_is_to_be_had_on_threads_alone(fresh_session: sessions.Session) -> None:
    found: list[int] = []
    with parallel_config("anabranch", runner="thread", n_jobs=2):
        Parallel(require="sharedmem")(delayed(found.append)(x) for x in range(5))
    assert sorted(found) == list(range(5))


def test_a_task_that_waits_lends_its_slot(fresh_session: sessions.Session) -> None:
    with ThreadRunner(2) as own:

        @task
        def total(n: int) -> int:
            with parallel_config("anabranch", runner=own, n_jobs=2):
                return sum(Parallel()(delayed(square)(x) for x in range(n)))

        assert total.map([3, 3, 3]).result(60) == [5, 5, 5]


def test_by_name_and_as_the_programs_own(fresh_session: sessions.Session) -> None:
    with parallel_backend("anabranch"):
        assert Parallel(n_jobs=2)(delayed(square)(x) for x in range(4)) == [0, 1, 4, 9]
    assert Parallel(n_jobs=2, backend="anabranch")(delayed(square)(x) for x in range(4)) == [0, 1, 4, 9]


def test_a_grid_search_finds_the_same(kind: str) -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    x, y = load_digits(return_X_y=True)
    grid = {"C": [0.1, 1.0, 10.0], "gamma": [0.0005, 0.002]}
    with parallel_config("threading", n_jobs=1):
        alone = GridSearchCV(SVC(), grid, cv=3).fit(x[:400], y[:400])
    ours = GridSearchCV(SVC(), grid, cv=3, n_jobs=2).fit(x[:400], y[:400])
    assert ours.best_params_ == alone.best_params_
    assert np.array_equal(ours.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert np.array_equal(ours.predict(x), alone.predict(x))
