"""Maps of 100,000 no-ops: rate from `map()` to the last value and the last commit."""

from __future__ import annotations

import functools
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from benchmarks.measure import WORKERS, expect_sum, in_flow, inc, recorded_seconds, runner_of
from benchmarks.rows import Bar, Figures, Row

ITEMS = 100_000


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


def dask_peer(quick: bool) -> Figures:
    from distributed import Client, LocalCluster

    n = 500 if quick else 5_000
    make_cluster: Any = LocalCluster  # untyped
    make_client: Any = Client
    with (
        make_cluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        make_client(cluster) as client,
    ):
        client.gather(client.map(inc, range(4), pure=False))
        start = time.perf_counter()
        expect_sum(client.gather(client.map(inc, range(n), pure=False)), n)
        seconds = time.perf_counter() - start
    return {"rate": n / seconds, "seconds": seconds}


def row(kind: str, peer: Any, peer_name: str, at_least: float, ratio: float, unfair: str = "") -> Row:
    bar = Bar("rate", "items/s", at_least=at_least, ratio_at_least=ratio)
    return Row(
        f"map_{kind}", f"map of 100k no-ops, {kind}", functools.partial(ours, kind), (bar,), peer, peer_name,
        unfair=unfair,
    )  # fmt: skip


def options_row(kind: str, at_least: float) -> Row:
    bar = Bar("rate", "items/s", at_least=at_least, ratio_at_least=0.5)
    return Row(
        f"map_{kind}_options", f"the same, {kind}, with retries=1, a time-out and a hook",
        functools.partial(with_options, kind), (bar,), functools.partial(ours, kind), "our own map without options",
    )  # fmt: skip


NO_RECORD = "the peer keeps no record; ours sends chunks, the peer one task an item"
ROWS = (
    row("threads", threads_peer, "ThreadPoolExecutor, submit all", 100_000, 1.5, NO_RECORD),
    row("processes", processes_peer, "ProcessPoolExecutor, one task an item, 20k items", 50_000, 6, NO_RECORD),
    options_row("threads", 50_000),
    options_row("processes", 25_000),
    row("dask", dask_peer, "client.map, one task an item, 5k items", 20_000, 8, NO_RECORD),
)
