"""100 chains of depth 20, each link a submit that takes the future before it."""

from __future__ import annotations

import functools
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.engines import engine
from benchmarks.measure import WORKERS, in_flow, inc, recorded_seconds, runner_of
from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable

CHAINS, DEPTH = 100, 20


def check(values: list[int]) -> None:
    if values != [i + DEPTH for i in range(CHAINS)]:
        raise AssertionError(f"chains ended with {values[:5]} ...")


def ours(kind: str, quick: bool) -> Figures:
    from anabranch import task

    one = task(inc)

    def work() -> None:
        ends = []
        for i in range(CHAINS):
            link = one.submit(i)
            for _ in range(DEPTH - 1):
                link = one.submit(link)
            ends.append(link)
        check([e.result() for e in ends])

    seconds = in_flow(runner_of(kind), lambda: recorded_seconds(work))
    return {"wall_s": seconds, "us_each": seconds / (CHAINS * DEPTH) * 1e6}


def peer(make: Callable[[], Executor], quick: bool) -> Figures:
    """Each link is submitted by the callback of the one before it."""
    ends: list[int] = [0] * CHAINS
    left = threading.Semaphore(0)
    with make() as pool:
        list(pool.map(inc, range(4)))

        def go_on(chain: int, depth: int, done: Future[int]) -> None:
            if depth == DEPTH:
                ends[chain] = done.result()
                left.release()
                return
            pool.submit(inc, done.result()).add_done_callback(lambda f: go_on(chain, depth + 1, f))

        start = time.perf_counter()
        for i in range(CHAINS):
            pool.submit(inc, i).add_done_callback(lambda f, i=i: go_on(i, 1, f))  # type: ignore[misc]
        for _ in range(CHAINS):
            left.acquire()
        seconds = time.perf_counter() - start
    check(ends)
    return {"wall_s": seconds, "us_each": seconds / (CHAINS * DEPTH) * 1e6}


def engine_peer(kind: str, quick: bool) -> Figures:
    """The engine's own graph: each link takes the future before it."""
    with engine(kind) as raw:
        start = time.perf_counter()
        ends = []
        for i in range(CHAINS):
            link = raw.submit(inc, i)
            for _ in range(DEPTH - 1):
                link = raw.submit(inc, link)
            ends.append(link)
        check(raw.gather(ends))
        seconds = time.perf_counter() - start
    return {"wall_s": seconds, "us_each": seconds / (CHAINS * DEPTH) * 1e6}


def engine_row(kind: str, call: str) -> Row:
    return Row(
        f"chains_{kind}", f"100 chains of depth 20 by submit, {kind}", functools.partial(ours, kind),
        (Bar("us_each", "us", ratio_at_most=1.0),), functools.partial(engine_peer, kind),
        f"the engine's own graph: {call} with the future before it", unfair="the peer keeps no record",
    )  # fmt: skip


def row(kind: str, pool: type[ThreadPoolExecutor] | type[ProcessPoolExecutor]) -> Row:
    return Row(
        f"chains_{kind}",
        f"100 chains of depth 20 by submit, {kind}",
        functools.partial(ours, kind),
        (Bar("us_each", "us", ratio_at_most=1.0),),
        functools.partial(peer, functools.partial(pool, WORKERS)),
        f"{pool.__name__}, next link by callback",
        unfair="the peer keeps no record and has a future only for the link that runs",
    )


ROWS = (
    row("threads", ThreadPoolExecutor),
    row("processes", ProcessPoolExecutor),
    engine_row("dask", "client.submit"),
    engine_row("ray", "f.remote"),
)
