"""METG(50 %): the shortest task that still keeps the slots busy for half of the time.

The kernel is a checksum over a part of a buffer: it releases the interpreter's lock. Efficiency is the
kernel's own time at full speed of all slots (plain threads, or processes, over parts of 1 MiB, measured before and
after each grain) divided by wall time.
"""

from __future__ import annotations

import functools
import math
import time
import zlib
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.engines import engine
from benchmarks.measure import WORKERS, in_flow, recorded_seconds, runner_of
from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GRAINS_US = (500, 200, 100, 50, 20, 10, 5, 2, 1)
ALL_US = (50_000, 20_000, 10_000, 5_000, 2_000, 1_000, *GRAINS_US)  # on engines across sockets

PART = 1 << 20


@functools.cache
def buffer() -> memoryview:
    return memoryview(bytes(PART))


def checksum(nbytes: int) -> int:
    return zlib.crc32(buffer()[:nbytes])


def checksums(nbytes: int) -> int:
    """The kernel for parts that are longer than the buffer."""
    found = checksum(nbytes % PART)
    for _ in range(nbytes // PART):
        found = zlib.crc32(buffer(), found)
    return found


def peak(pool: Executor) -> float:
    """Bytes a second of all slots together, just now."""
    parts = 400
    start = time.perf_counter()
    list(pool.map(checksum, [PART] * parts))
    return parts * PART / (time.perf_counter() - start)


def metg(pool: Executor, run: Callable[[int, int], float], quick: bool, grains: Iterable[int] = GRAINS_US) -> Figures:
    """Shorten the grain until efficiency is below one half; `run(nbytes, n)` takes that many parts and seconds."""
    target = 0.3 if quick else 2.0  # seconds of work at full speed
    run(PART, 8 * WORKERS)  # each worker has the function, and its buffer
    speed = peak(pool)
    figures: Figures = {"peak_gb_s": speed / 1e9}
    last: tuple[float, float] | None = None
    for grain in grains:
        nbytes = int(grain * 1e-6 * speed / WORKERS)  # takes one slot `grain` when all are busy
        n = min(200_000, int(target * WORKERS / (grain * 1e-6)))
        efficiency = 0.0
        for _ in range(2):  # one stumble is not the end
            before = peak(pool)
            seconds = run(nbytes, n)
            efficiency = max(efficiency, n * nbytes / ((before + peak(pool)) / 2) / seconds)
            if efficiency >= 0.5:
                break
        figures[f"efficiency_at_{grain}us"] = efficiency
        if efficiency < 0.5:
            figures["metg_us"] = between(last, (grain, efficiency))
            return figures
        last = (grain, efficiency)
    figures["metg_us"] = float(grain)
    return figures


def pool_of(kind: str) -> Executor:
    """A plain pool, warmed up before there are threads of ours."""
    pool: Executor = ThreadPoolExecutor(WORKERS) if kind == "threads" else ProcessPoolExecutor(WORKERS)
    peak(pool)
    return pool


def ours(kind: str, quick: bool) -> Figures:
    from anabranch import task

    one = task(checksums)

    def run(nbytes: int, n: int) -> float:
        return recorded_seconds(lambda: one.map([nbytes] * n).result())

    with pool_of(kind) as pool:
        grains = GRAINS_US if kind in ("threads", "processes") else ALL_US
        return in_flow(runner_of(kind), lambda: metg(pool, run, quick, grains))


def loop(nbytes: int, n: int) -> int:
    for _ in range(n):
        checksums(nbytes)
    return n


def peer(kind: str, quick: bool) -> Figures:
    """The least that can be done: each thread, or process, loops over its half; no values, no pool per item."""
    with pool_of(kind) as pool:

        def run(nbytes: int, n: int) -> float:
            start = time.perf_counter()
            list(pool.map(loop, [nbytes] * WORKERS, [n // WORKERS] * WORKERS))
            return time.perf_counter() - start

        return metg(pool, run, quick)


def engine_peer(kind: str, quick: bool) -> Figures:
    """The raw engine, one task an item."""
    with pool_of("processes") as pool, engine(kind) as raw:

        def run(nbytes: int, n: int) -> float:
            start = time.perf_counter()
            raw.gather([raw.submit(checksums, nbytes) for _ in range(n)])
            return time.perf_counter() - start

        return metg(pool, run, quick, ALL_US)


def between(good: tuple[float, float] | None, bad: tuple[float, float]) -> float:
    """Where efficiency crosses one half, on the line between two measured grains (logarithmic in the grain)."""
    if good is None:
        return bad[0]
    share = (0.5 - bad[1]) / (good[1] - bad[1])
    return math.exp(math.log(bad[0]) + share * (math.log(good[0]) - math.log(bad[0])))


def row(kind: str) -> Row:
    return Row(
        f"metg_{kind}", f"METG(50 %), checksum kernel, {kind}", functools.partial(ours, kind),
        (Bar("metg_us", "us", at_most=20),), functools.partial(peer, kind), f"two bare loops on {kind}", most=3,
        unfair="the peer is the floor of the language and this machine, not a pool: a loop without values or record",
    )  # fmt: skip


def engine_row(kind: str) -> Row:
    return Row(
        f"metg_{kind}", f"METG(50 %), checksum kernel, {kind}", functools.partial(ours, kind),
        (Bar("metg_us", "us", at_most=100),), functools.partial(engine_peer, kind), "the raw engine, one task an item",
        most=3, seconds=300,
    )  # fmt: skip


ROWS = (row("threads"), row("processes"), engine_row("dask"), engine_row("ray"))
