"""`python -m benchmarks profile`: processor time of an item by who spent it, on each runner.

    driver:  your thread | the runner's thread | the record's writer | the rest     (threads, by the kernel's clock)
    engine:  Dask's scheduler, Ray's own processes
    worker:  the processes, or threads, that run the function; of it the bare function's own time

The kernel counts (/proc/PID/task/TID/schedstat), so nothing is slowed down by looking. With --functions the calling
thread runs under cProfile once more, and its dearest functions are listed: their shares are true, their times inflated.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import os
import pstats
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import expect_sum, flush, in_flow, inc, runner_of, tree
from benchmarks.sampling import adopt_orphans, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.rows import Figures, Side

KINDS = ("threads", "processes", "dask", "ray")
WORKS = {"map": 200_000, "submit": 10_000}
NAME = "profile"
FUNCTIONS = "functions"
# Which part a driver's thread belongs to, by the beginning of its name; Ray's own threads in the driver have none.
THREADS = {
    "MainThread": "driver: your thread",
    "anabranch-process": "driver: runner (wire)",
    "anabranch-dask": "driver: runner (wire)",
    "anabranch-ray": "driver: runner (wire)",
    "IO loop": "driver: Dask's loop (wire)",
    "anabranch-records": "driver: record's writer",
    "anabranch-": "driver: clock, progress, others",
}
NATIVE = "driver: engine's native threads (wire)"
# Which part a process belongs to, by a word of its command line.
PROCESSES = {
    "anabranch.runners.process.worker": "worker processes",
    "spawn_main": "worker processes",
    "ray::RayWorker": "worker processes",
    "anabranch.clusters.local": "engine: Dask's scheduler and nannies (wire)",
    "raylet": "engine: raylet (wire)",
    "gcs_server": "engine: GCS (wire)",
}
OTHER = "engine: other processes"


def on_cpu(path: str) -> float:
    """Seconds a thread has been on a processor, to the nanosecond."""
    try:
        return int(Path(path).read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def thread_part(name: str | None) -> str:
    if name is None:
        return NATIVE
    suffix = name.removeprefix("anabranch-")
    if suffix.isdigit():
        return "worker threads"
    return next((part for begin, part in THREADS.items() if name.startswith(begin)), NATIVE)


def process_part(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return OTHER
    return next((part for word, part in PROCESSES.items() if word in command), OTHER)


def spent() -> dict[str, float]:
    """Processor seconds so far of every part of this process tree."""
    found: dict[str, float] = {}
    names = {t.native_id: t.name for t in threading.enumerate()}
    for pid in tree(os.getpid()):
        part = process_part(pid)
        try:
            tids = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for tid in tids:
            where = thread_part(names.get(int(tid))) if pid == os.getpid() else part
            found[where] = found.get(where, 0.0) + on_cpu(f"/proc/{pid}/task/{tid}/schedstat")
    return found


def bare(n: int) -> float:
    """Seconds of the function alone, called in a loop."""
    start = time.perf_counter()
    for i in range(n):
        inc(i)
    return time.perf_counter() - start


def work_of(what: str, n: int) -> Callable[[], None]:
    from anabranch import task

    one = task(inc)

    def mapped() -> None:
        expect_sum(one.map(range(n)).result(), n)
        flush()

    def submitted() -> None:
        expect_sum((f.result() for f in [one.submit(i) for i in range(n)]), n)
        flush()

    return mapped if what == "map" else submitted


def side(what: str, kind: str) -> Side:
    """What a measuring process runs for `profile@WORK`."""
    return (
        partial(dearest, what.removesuffix(FUNCTIONS), kind) if what.endswith(FUNCTIONS) else partial(parts, what, kind)
    )


def size(what: str, quick: bool) -> int:
    return WORKS[what] // 10 if quick else WORKS[what]


def parts(what: str, kind: str, quick: bool) -> Figures:
    """Microseconds an item of each part, after one round that warms everything up."""
    n = size(what, quick)
    work = work_of(what, n)

    def body() -> Figures:
        work()
        before, start = spent(), time.perf_counter()
        work()
        wall = time.perf_counter() - start
        after = spent()
        found = {part: (total - before.get(part, 0.0)) / n * 1e6 for part, total in after.items()}
        found["the bare function, in a loop"] = bare(n) / n * 1e6
        return {"wall": wall / n * 1e6, **dict(sorted(found.items()))}

    return in_flow(runner_of(kind), body)


def dearest(what: str, kind: str, quick: bool) -> Figures:
    """Shares of the calling thread's dearest functions."""
    n = size(what, quick)
    work = work_of(what, n)

    def body() -> Figures:
        work()
        profile = cProfile.Profile()
        profile.runcall(work)
        stats: Any = pstats.Stats(profile, stream=io.StringIO()).stats  # type: ignore[attr-defined]
        own = sorted(((row[2], where) for where, row in stats.items()), reverse=True)
        total = sum(seconds for seconds, _ in own)
        return {f"{Path(file).name}:{line} {name}": seconds / total for seconds, (file, line, name) in own[:12]}

    return in_flow(runner_of(kind), body)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=__doc__.splitlines()[0])
    parser.add_argument("--runners", default=",".join(KINDS), help="with commas between")
    parser.add_argument("--work", choices=WORKS, help="map, or a loop of submits; both if not given")
    parser.add_argument("--functions", action="store_true", help="also the dearest functions of the calling thread")
    parser.add_argument("--quick", action="store_true", help="a tenth of the items")
    given = parser.parse_args(argv)
    kinds = given.runners.split(",")
    if unknown := sorted(set(kinds) - set(KINDS)):
        parser.error(f"unknown runners {', '.join(unknown)}; known are {', '.join(KINDS)}")
    adopt_orphans()
    failed = False
    for what in [given.work] if given.work else list(WORKS):
        for kind in kinds:
            failed |= not show(what, kind, given.quick)
            if given.functions:
                failed |= not show(what + FUNCTIONS, kind, given.quick)
    return int(failed)


def show(what: str, kind: str, quick: bool) -> bool:
    """Take one sample and print it; False: it failed."""
    sample = take(f"{NAME}@{what}", kind, quick, 300)
    if sample.error:
        print(f"{what} on {kind}: {sample.error}", flush=True)
        return False
    functions = what.endswith(FUNCTIONS)
    plain = what.removesuffix(FUNCTIONS)
    title = "shares of the calling thread's time under cProfile" if functions else "us an item"
    print(f"\n{plain} of {size(plain, quick):,} no-ops on {kind}: {title} (load {sample.load:.1f})")
    for name, value in sample.figures.items():
        print(f"  {value:>8.1%}  {name}" if functions else f"  {value:>8.2f}  {name}", flush=True)
    return True
