"""The standard library: a loop, and its two executors."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.measure import WORKERS, inc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.rows import Figures
    from benchmarks.systems import Body


def loop(body: Body) -> Figures:
    return body(lambda n: [inc(i) for i in range(n)], inc)


def _submitting(pool: Executor, body: Body) -> Figures:
    def fan_out(n: int) -> Iterable[int]:
        return [f.result() for f in [pool.submit(inc, i) for i in range(n)]]

    with pool:
        return body(fan_out, lambda i: pool.submit(inc, i).result())


def threads(body: Body) -> Figures:
    return _submitting(ThreadPoolExecutor(WORKERS), body)


def processes(body: Body) -> Figures:
    return _submitting(ProcessPoolExecutor(WORKERS), body)


def processes_in_chunks(body: Body) -> Figures:
    with ProcessPoolExecutor(WORKERS) as pool:
        return body(lambda n: list(pool.map(inc, range(n), chunksize=500)), lambda i: pool.submit(inc, i).result())
