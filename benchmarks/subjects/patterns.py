"""Task graphs after Task Bench, by submit: each task adds up what it depends on, and one.

    trivial   chain     stencil        fft            tree
    o o o o   o o o o   o   o   o   o  o   o   o   o        o
              | | | |   |\\ /|\\ /|\\ /|  | X |   | X |      /   \\
    o o o o   o o o o   o   o   o   o  o   o   o   o    o     o
"""

from __future__ import annotations

import functools
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.engines import engine
from benchmarks.measure import WORKERS, in_flow, recorded_seconds, runner_of
from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, STEPS = 16, 32
MODULUS = 1_000_003
Graph = list[list[tuple[int, ...]]]  # of each task of each step: which tasks of the step before it needs


def combine(*values: int) -> int:
    return (1 + sum(values)) % MODULUS


def trivial(width: int, steps: int) -> Graph:
    return [[()] * width for _ in range(steps)]


def layered(needs: Callable[[int, int, int], set[int]]) -> Callable[[int, int], Graph]:
    """Steps of one width; `needs(step, column, width)` says which columns before it a task takes."""

    def graph(width: int, steps: int) -> Graph:
        later = [
            [tuple(sorted(n for n in needs(step, c, width) if 0 <= n < width)) for c in range(width)]
            for step in range(1, steps)
        ]
        return [[()] * width, *later]

    return graph


def tree(width: int, steps: int) -> Graph:
    """Spreads from one task to `width`, comes together in one again, as often as the steps allow."""
    depth = width.bit_length() - 1
    spread = [[(c // 2,) for c in range(2**level)] for level in range(1, depth + 1)]
    join = [[(2 * c, 2 * c + 1) for c in range(2**level)] for level in reversed(range(depth))]
    return [[()], *(spread + join) * max(1, steps // (2 * depth))]


PATTERNS = {
    "trivial": trivial,
    "chain": layered(lambda step, c, width: {c}),
    "stencil": layered(lambda step, c, width: {c - 1, c, c + 1}),
    "fft": layered(lambda step, c, width: {c, c ^ (1 << ((step - 1) % (width.bit_length() - 1)))}),
    "tree": tree,
}


def walk(graph: Graph, submit: Callable[..., Any]) -> list[Any]:
    """Submit task by task; what the last step gave, and for a graph without dependencies all steps."""
    before: list[Any] = []
    every: list[Any] = []
    for step in graph:
        before = [submit(combine, *[before[n] for n in needs]) for needs in step]
        every += before
    return before if any(graph[-1]) else every


def measured(run: Callable[[Graph], list[int]], quick: bool) -> Figures:
    """Microseconds a task of each pattern; `run` gives the values of `walk`."""
    figures: Figures = {}
    for name, make in PATTERNS.items():
        graph = make(8, 6) if quick else make(WIDTH, STEPS)
        tasks = sum(map(len, graph))
        expected = walk(graph, lambda function, *values: function(*values))
        start = time.perf_counter()
        found = run(graph)
        figures[f"{name}_us"] = (time.perf_counter() - start) / tasks * 1e6
        if found != expected:
            raise AssertionError(f"{name} gave {found[:5]} ..., not {expected[:5]} ...")
    return figures


def ours(kind: str, quick: bool) -> Figures:
    from anabranch import task

    one = task(combine)

    def run(graph: Graph) -> list[int]:
        found: list[int] = []
        recorded_seconds(lambda: found.extend(f.result() for f in walk(graph, lambda _, *needs: one.submit(*needs))))
        return found

    return in_flow(runner_of(kind), lambda: measured(run, quick))


def engine_peer(kind: str, quick: bool) -> Figures:
    with engine(kind) as raw:
        return measured(lambda graph: raw.gather(walk(graph, raw.submit)), quick)


def local_peer(kind: str, quick: bool) -> Figures:
    """Dask's own scheduler for one machine, without `distributed`, over a pool that is up."""
    import dask.multiprocessing
    import dask.threaded

    get: Any = dask.threaded.get if kind == "threads" else dask.multiprocessing.get
    pool = ThreadPoolExecutor(WORKERS) if kind == "threads" else ProcessPoolExecutor(WORKERS)

    def run(graph: Graph) -> list[int]:
        described: dict[str, tuple[Any, ...]] = {}

        def submit(function: Any, *needs: str) -> str:
            key = f"t{len(described)}"
            described[key] = (function, *needs)
            return key

        ends = walk(graph, submit)
        return list(get(described, ends, pool=pool))

    with pool:
        list(pool.map(abs, range(4)))
        return measured(run, quick)


PEERS = {
    "threads": "dask.threaded.get of the whole graph",
    "processes": "dask.multiprocessing.get of the whole graph",
    "dask": "client.submit with futures",
    "ray": "f.remote with references",
}
LOCAL = "the peer keeps no record, knows the whole graph before it begins, and fuses chains"


def row(kind: str) -> Row:
    remote = kind in ("dask", "ray")
    return Row(
        f"patterns_{kind}",
        f"task graphs, {WIDTH} wide, {STEPS} steps, by submit, {kind}",
        functools.partial(ours, kind),
        tuple(Bar(f"{name}_us", "us a task") for name in PATTERNS),
        functools.partial(engine_peer if remote else local_peer, kind),
        PEERS[kind],
        most=3,
        unfair="the peer keeps no record" if remote else LOCAL,
    )


ROWS = tuple(row(kind) for kind in PEERS)
