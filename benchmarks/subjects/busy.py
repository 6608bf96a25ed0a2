"""Tasks that take a while: 1 ms of work, 0.1 s of sleep."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ProcessPoolExecutor

from benchmarks.measure import WORKERS, expect_sum, in_flow, recorded_seconds, runner_of
from benchmarks.rows import Bar, Figures, Row

BUSY_ITEMS = 4_000
SLEEP_ITEMS = 400


def busy(x: int) -> int:
    """Keep a core busy for 1 ms of its own time."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass
    return x + 1


def nap(x: int) -> int:
    time.sleep(0.1)
    return x + 1


def busy_ours(quick: bool) -> Figures:
    from anabranch import task

    n = BUSY_ITEMS // 4 if quick else BUSY_ITEMS
    one = task(busy)
    work = lambda: expect_sum(one.map(range(n)).result(), n)  # noqa: E731
    return {"wall_s": in_flow(runner_of("processes"), lambda: recorded_seconds(work))}


def busy_peer(quick: bool) -> Figures:
    n = BUSY_ITEMS // 4 if quick else BUSY_ITEMS
    found = []
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(busy, range(4)))
        for chunksize in (10, 25, 50):
            start = time.perf_counter()
            expect_sum(pool.map(busy, range(n), chunksize=chunksize), n)
            found.append(time.perf_counter() - start)
    return {"wall_s": min(found)}


def sleeping(kind: str, quick: bool) -> Figures:
    from anabranch import task

    n = 60 if quick else SLEEP_ITEMS
    one = task(nap)
    work = lambda: expect_sum(one.map(range(n)).result(), n)  # noqa: E731
    runner = runner_of(kind)
    seconds, slots = in_flow(runner, lambda: (recorded_seconds(work), runner.slots().now))
    return {"efficiency": n * 0.1 / (slots * seconds), "seconds": seconds}


def sleep_row(kind: str) -> Row:
    bar = Bar("efficiency", "", at_least=0.95)
    return Row(
        f"sleep_{kind}", f"400 x sleep(0.1), {kind}: share of the slots' time", functools.partial(sleeping, kind),
        (bar,), most=3,
    )  # fmt: skip


ROWS = (
    Row(
        "busy_1ms",
        "4,000 tasks of 1 ms, processes",
        busy_ours,
        (Bar("wall_s", "s", ratio_at_most=1.1),),
        busy_peer,
        "ProcessPoolExecutor.map, best of chunksizes 10, 25, 50",
        unfair="the peer has the best of three tries and keeps no record",
    ),
    sleep_row("threads"),
    sleep_row("processes"),
    sleep_row("dask"),
    sleep_row("ray"),
)
