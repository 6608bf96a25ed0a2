"""Maps of 100,000 no-ops: rate from `map()` to the last value and the last commit."""

from __future__ import annotations

import functools
import itertools
import os
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.engines import UNQUEUED, dask_engine, ray_engine
from benchmarks.measure import ADDRESS, WORKERS, expect_sum, in_flow, inc, recorded_seconds, runner_of
from benchmarks.rows import Bar, Figures, Row, Side

if TYPE_CHECKING:
    from collections.abc import Mapping

ITEMS = 100_000


CHUNK = 1_000  # of the peers that chunk by hand


def size(quick: bool) -> int:
    return ITEMS // 10 if quick else ITEMS


def on_failure(task: Any, run: Any, state: Any) -> None:
    """The hook of the rows with options; never called."""


def ours(kind: str, quick: bool, **options: Any) -> Figures:
    from anabranch import task

    n = size(quick)
    no_op = task(**options)(inc)
    work = lambda: expect_sum(no_op.map(range(n)).result(), n)  # noqa: E731
    seconds = in_flow(runner_of(kind), lambda: recorded_seconds(work))
    return {"rate": n / seconds, "seconds": seconds}


def with_options(kind: str, quick: bool) -> Figures:
    return ours(kind, quick, retries=1, timeout_seconds=60, on_failure=[on_failure])


def inc_all(xs: range) -> list[int]:
    return [inc(x) for x in xs]


def pool_rate(pool: Executor, n: int) -> Figures:
    """One task an item: submit all, then gather."""
    with pool:
        list(pool.map(inc, range(4)))
        start = time.perf_counter()
        futures = [pool.submit(inc, i) for i in range(n)]
        expect_sum((f.result() for f in futures), n)
        seconds = time.perf_counter() - start
    return {"rate": n / seconds, "seconds": seconds}


def threads_peer(quick: bool) -> Figures:
    return pool_rate(ThreadPoolExecutor(WORKERS), size(quick))


def processes_peer(quick: bool) -> Figures:
    return pool_rate(ProcessPoolExecutor(WORKERS), 5_000 if quick else 20_000)


def dask_peer(quick: bool, config: dict[str, Any] | None = None) -> Figures:
    n = 500 if quick else 5_000
    with dask_engine(config) as engine:
        start = time.perf_counter()
        expect_sum(engine.gather(engine.raw.map(inc, range(n), pure=False)), n)
        seconds = time.perf_counter() - start
    return {"rate": n / seconds, "seconds": seconds}


def ray_peer(quick: bool) -> Figures:
    n = 1_000 if quick else 10_000
    with ray_engine() as engine:
        start = time.perf_counter()
        expect_sum(engine.gather([engine.submit(inc, i) for i in range(n)]), n)
        seconds = time.perf_counter() - start
    return {"rate": n / seconds, "seconds": seconds}


def dask_by_hand(quick: bool) -> Figures:
    """What an expert does: chunks of 1,000 items, made by hand."""
    n = size(quick)
    parts = [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
    with dask_engine() as engine:
        start = time.perf_counter()
        lists = engine.gather(engine.raw.map(inc_all, parts, pure=False))
        expect_sum(itertools.chain.from_iterable(lists), n)
        seconds = time.perf_counter() - start
    return {"rate": n / seconds, "seconds": seconds}


def ray_by_hand(quick: bool) -> Figures:
    n = size(quick)
    parts = [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
    with ray_engine() as engine:
        start = time.perf_counter()
        lists = engine.gather([engine.submit(inc_all, part) for part in parts])
        expect_sum(itertools.chain.from_iterable(lists), n)
        seconds = time.perf_counter() - start
    return {"rate": n / seconds, "seconds": seconds}


def row(
    kind: str, peer: Any, peer_name: str, at_least: float, ratio: float, others: Mapping[str, Side] | None = None
) -> Row:
    bar = Bar("rate", "items/s", at_least=at_least, ratio_at_least=ratio)
    return Row(
        f"map_{kind}", f"map of 100k no-ops, {kind}", functools.partial(ours, kind), (bar,), peer, peer_name,
        others or {}, unfair="the peer keeps no record; ours sends chunks, the peer one task an item",
    )  # fmt: skip


def options_row(kind: str, at_least: float) -> Row:
    # On Dask and Ray items with a time limit run in children of the workers, so the rate alone is judged.
    ratio = 0.5 if kind in ("threads", "processes") else None
    bar = Bar("rate", "items/s", at_least=at_least, ratio_at_least=ratio)
    return Row(
        f"map_{kind}_options", f"the same, {kind}, with retries=1, a time-out and a hook",
        functools.partial(with_options, kind), (bar,), functools.partial(ours, kind), "our own map without options",
    )  # fmt: skip


# A borrowed cluster has its setting already.
UNQUEUED_TOO = {"the same with worker-saturation=inf": functools.partial(dask_peer, config=UNQUEUED)}
ROWS = (
    row("threads", threads_peer, "ThreadPoolExecutor, submit all", 100_000, 1.5),
    row("processes", processes_peer, "ProcessPoolExecutor, one task an item, 20k items", 50_000, 6),
    options_row("threads", 50_000),
    options_row("processes", 25_000),
    options_row("dask", 10_000),
    options_row("ray", 10_000),
    row(
        "dask", dask_peer, "client.map, one task an item, 5k items, LocalCluster as it comes", 20_000, 8,
        {**({} if os.environ.get(ADDRESS) else UNQUEUED_TOO), "client.map of chunks of 1,000 by hand": dask_by_hand},
    ),
    row(
        "ray", ray_peer, "f.remote, one task an item, 10k items", 20_000, 8,
        {"f.remote of chunks of 1,000 by hand": ray_by_hand},
    ),
)  # fmt: skip
