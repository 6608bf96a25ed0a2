"""One constant of 50 MB over 2,000 items: our naive call, what an expert does by hand, naive use of the raw engine."""

from __future__ import annotations

import functools
import itertools
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.engines import engine
from benchmarks.measure import WORKERS, in_flow, inc, recorded_seconds, runner_of, seconds_of
from benchmarks.pss import Sampler
from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ITEMS = 2_000
BYTES = 50_000_000
CHUNK = 100
STEP = 1_000  # bytes between what two items look at
NAIVE_SECONDS = 40.0  # naive use that is slower than that is stopped, and counted by what it had done
EVERY = 0.2  # seconds between two looks at the memory


def look(i: int, data: Any) -> int:
    return int(data[i * STEP])


def look_all(xs: range, data: Any) -> list[int]:
    return [look(x, data) for x in xs]


def constant(what: str) -> Any:
    if what == "bytes":
        return os.urandom(BYTES)
    import numpy

    return numpy.frombuffer(os.urandom(BYTES), dtype=numpy.uint8).copy()


def watched(data: Any, n: int, work: Callable[[], Iterable[int]]) -> Figures:
    """Seconds of `work`, its values checked, and by how much the process tree grew meanwhile."""
    sampler = Sampler(EVERY)
    base = sampler.now()
    found: list[Iterable[int]] = []
    with sampler:
        seconds = seconds_of(lambda: found.append(work()))
        grows = max(sampler.highest, sampler.now()) - base
    if list(found[0]) != [look(i, data) for i in range(n)]:
        raise AssertionError("wrong values")
    return {"wall_s": seconds, "rate": n / seconds, "grows_mb": grows / 1e6}


def size(quick: bool) -> int:
    return ITEMS // 10 if quick else ITEMS


def ours(kind: str, what: str, quick: bool) -> Figures:
    from anabranch import task, unmapped

    n, data, one = size(quick), constant(what), task(look)

    def work() -> list[int]:
        found: list[list[int]] = []
        recorded_seconds(lambda: found.append(one.map(range(n), unmapped(data)).result()))
        return found[0]

    return in_flow(runner_of(kind), lambda: watched(data, n, work))


def parts(n: int) -> list[range]:
    return [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]


def by_hand(kind: str, what: str, quick: bool) -> Figures:
    """The constant put on the workers once, a hundred items a task."""
    n, data = size(quick), constant(what)
    with engine(kind) as raw:

        def work() -> Iterable[int]:
            there = raw.share(data)
            return itertools.chain.from_iterable(raw.gather([raw.submit(look_all, part, there) for part in parts(n)]))

        return watched(data, n, work)


def naive(kind: str, what: str, quick: bool) -> Figures:
    """The constant as an argument of each call, one task an item; stopped when it takes too long."""
    n, data, done = size(quick), constant(what), 0
    with engine(kind) as raw:
        start = time.perf_counter()
        for i in range(0, n, 10):
            expected = [look(j, data) for j in range(i, i + 10)]
            if raw.gather([raw.submit(look, j, data) for j in range(i, i + 10)]) != expected:
                raise AssertionError("wrong values")
            done += 10
            if time.perf_counter() - start > (NAIVE_SECONDS / 10 if quick else NAIVE_SECONDS):
                break
        seconds = time.perf_counter() - start
    return {"wall_s": seconds * n / done, "rate": done / seconds}


_DATA: Any = None  # of a worker of the process pool


def _receive(data: Any) -> None:
    global _DATA
    _DATA = data


def _look_all_there(xs: range) -> list[int]:
    return look_all(xs, _DATA)


def pool_by_hand(kind: str, what: str, quick: bool) -> Figures:
    """Threads share it anyway; processes inherit it when the pool forks them."""
    n, data = size(quick), constant(what)
    if kind == "threads":
        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(inc, range(4)))
            call = functools.partial(look_all, data=data)
            return watched(data, n, lambda: itertools.chain.from_iterable(threads.map(call, parts(n))))

    def work() -> list[int]:
        with ProcessPoolExecutor(WORKERS, initializer=_receive, initargs=(data,)) as pool:
            return list(itertools.chain.from_iterable(pool.map(_look_all_there, parts(n))))

    return watched(data, n, work)


HANDS = {
    "threads": "ThreadPoolExecutor.map of chunks of 100",
    "processes": "ProcessPoolExecutor with the constant inherited by fork, map of chunks of 100",
    "dask": "client.scatter(broadcast=True) and client.submit of chunks of 100",
    "ray": "ray.put and f.remote of chunks of 100",
}


def row(kind: str, what: str) -> Row:
    remote = kind in ("dask", "ray")
    return Row(
        f"constant_{what}_{kind}",
        f"a 50 MB {'NumPy array' if what == 'array' else 'bytes object'} as unmapped constant of 2,000 items, {kind}",
        functools.partial(ours, kind, what),
        # On threads and processes nothing is moved by hand: there is no sharing to be compared with.
        (Bar("wall_s", "s", ratio_at_most=1.2 if remote else None), Bar("grows_mb", "MB, whole tree")),
        functools.partial(by_hand if remote else pool_by_hand, kind, what),
        HANDS[kind],
        {"naive use, the constant in each call": functools.partial(naive, kind, what)} if remote else {},
        most=3,
        unfair="the peer is an expert's own code, and keeps no record"
        + ("; its time has the pool's start" if kind == "processes" else "")
        + ("; naive use is stopped after 40 s, and its time taken from the rate until then" if remote else ""),
    )


ROWS = tuple(row(kind, what) for kind in HANDS for what in ("bytes", "array"))
