"""100 chains of depth 20, each link a submit that takes the future before it; warm, and the first time."""

from __future__ import annotations

import functools
import statistics
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.engines import engine
from benchmarks.measure import WORKERS, in_flow, inc, recorded_seconds, runner_of, seconds_of
from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable

CHAINS, DEPTH = 100, 20
ROUNDS = 5


def check(values: list[int]) -> None:
    if values != [i + DEPTH for i in range(CHAINS)]:
        raise AssertionError(f"chains ended with {values[:5]} ...")


def rounds(work: Callable[[], object], seconds: Callable[[Callable[[], object]], float] = seconds_of) -> Figures:
    """All chains once, told apart because it is the first time, and then the median of some rounds."""
    links = CHAINS * DEPTH / 1e6
    first = seconds(work)
    wall = statistics.median(seconds(work) for _ in range(ROUNDS))
    return {"wall_s": wall, "us_each": wall / links, "first_us": first / links}


def ours(kind: str, quick: bool) -> Figures:
    from anabranch import task

    one = task(inc)
    return in_flow(
        runner_of(kind),
        lambda: rounds(lambda: check([end.result() for end in graph(one.submit, one.submit)]), recorded_seconds),
    )


def graph(submit: Callable[..., Any], link: Callable[[Any], Any]) -> list[Any]:
    """All links submitted at once, chain by chain, each with the future before it; the chains' last futures."""
    ends = []
    for i in range(CHAINS):
        end = submit(i)
        for _ in range(DEPTH - 1):
            end = link(end)
        ends.append(end)
    return ends


def after(before: Future[int]) -> int:
    return inc(before.result())


def pool_graph(quick: bool) -> Figures:
    """All links submitted at once, as ours are, each waiting for the one before it: as a pool of threads can do it."""
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(inc, range(4)))
        first, link = functools.partial(pool.submit, inc), functools.partial(pool.submit, after)
        return rounds(lambda: check([end.result() for end in graph(first, link)]))


def callbacks(make: Callable[[], Executor], quick: bool) -> Figures:
    """Each link is submitted by the callback of the one before it."""
    with make() as pool:
        list(pool.map(inc, range(4)))
        return rounds(functools.partial(_by_callback, pool))


def _by_callback(pool: Executor) -> None:
    ends: list[int] = [0] * CHAINS
    left = threading.Semaphore(0)

    def go_on(chain: int, depth: int, done: Future[int]) -> None:
        if depth == DEPTH:
            ends[chain] = done.result()
            left.release()
            return
        pool.submit(inc, done.result()).add_done_callback(lambda f: go_on(chain, depth + 1, f))

    for i in range(CHAINS):
        pool.submit(inc, i).add_done_callback(lambda f, i=i: go_on(i, 1, f))  # type: ignore[misc]
    for _ in range(CHAINS):
        left.acquire()
    check(ends)


def engine_peer(kind: str, quick: bool) -> Figures:
    """The engine's own graph: each link takes the future before it."""
    with engine(kind) as raw:
        submit = functools.partial(raw.submit, inc)
        return rounds(lambda: check(raw.gather(graph(submit, submit))))


BARS = (Bar("us_each", "us", ratio_at_most=1.0), Bar("first_us", "us, the first time"))


def engine_row(kind: str, call: str) -> Row:
    return Row(
        f"chains_{kind}", f"100 chains of depth 20 by submit, {kind}", functools.partial(ours, kind),
        BARS, functools.partial(engine_peer, kind),
        f"the engine's own graph: {call} with the future before it", unfair="the peer keeps no record",
    )  # fmt: skip


ROWS = (
    Row(
        "chains_threads", "100 chains of depth 20 by submit, threads", functools.partial(ours, "threads"),
        BARS, pool_graph,
        "ThreadPoolExecutor, all submitted with the future before them",
        others={"next link by callback": functools.partial(callbacks, functools.partial(ThreadPoolExecutor, WORKERS))},
        unfair="the peer keeps no record, and holds a thread while a link waits; by callback it has a future only "
        "for the link that runs",
    ),
    Row(
        "chains_processes", "100 chains of depth 20 by submit, processes", functools.partial(ours, "processes"),
        BARS,
        functools.partial(callbacks, functools.partial(ProcessPoolExecutor, WORKERS)),
        "ProcessPoolExecutor, next link by callback",
        unfair="the peer keeps no record and has a future only for the link that runs",
    ),
    engine_row("dask", "client.submit"),
    engine_row("ray", "f.remote"),
)  # fmt: skip
