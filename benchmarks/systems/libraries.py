"""Other people's libraries for running functions in parallel, each as its own first page uses it."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from benchmarks.measure import WORKERS, inc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.rows import Figures
    from benchmarks.systems import Body


def joblib(body: Body) -> Figures:
    """Chunks by joblib's own automatic batching."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=WORKERS) as parallel:

        def fan_out(n: int) -> Iterable[int]:
            return parallel(delayed(inc)(i) for i in range(n))  # type: ignore[no-any-return]

        return body(fan_out, lambda i: parallel([delayed(inc)(i)])[0])


def _submitting(submit: Any, body: Body) -> Figures:
    """`submit(i)` gives a future."""

    def fan_out(n: int) -> Iterable[int]:
        return [f.result() for f in [submit(i) for i in range(n)]]

    return body(fan_out, lambda i: submit(i).result())


def loky(body: Body) -> Figures:
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=WORKERS)
    try:
        return _submitting(lambda i: pool.submit(inc, i), body)
    finally:
        pool.shutdown(wait=True)


def parsl(body: Body) -> Figures:
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    with tempfile.TemporaryDirectory() as folder:
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            cores_per_worker=1,
            max_workers_per_node=WORKERS,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        with parsl.load(Config(executors=[executor], run_dir=os.path.join(folder, "parsl"), usage_tracking=0)):
            return _submitting(parsl.python_app(inc), body)


def executorlib(body: Body) -> Figures:
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=WORKERS, block_allocation=True) as pool:
        return _submitting(lambda i: pool.submit(inc, i), body)
