"""What it costs to be resumable, and how soon a run goes on after its driver was killed at half of a million items."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import MIB, expect_sum, flush, inc, runner_of
from benchmarks.rows import Bar, Figures, Row

SMALL, LARGE = 100_000, 500


def mebibyte(x: int) -> bytes:
    return bytes([x % 256]) * MIB


def _seconds(body: Any, resumable: bool) -> float:
    """Of a flow's body up to the record's last commit, its runner up and warm."""
    from anabranch import flow, task

    warm = task(name="warm")(inc)
    found: list[float] = []

    @flow(name="bench", runner=runner_of("processes"), resumable=resumable)
    def bench() -> None:
        expect_sum(warm.map(range(64)).result(), 64)
        flush()
        start = time.perf_counter()
        body()
        flush()
        found.append(time.perf_counter() - start)

    bench()
    return found[0]


def small(resumable: bool, quick: bool) -> Figures:
    from anabranch import task

    n = SMALL // 10 if quick else SMALL
    one = task(inc)
    return {"rate": n / _seconds(lambda: expect_sum(one.map(range(n)).result(), n), resumable)}


def large(resumable: bool, quick: bool) -> Figures:
    from anabranch import task

    n = LARGE // 10 if quick else LARGE
    make, size = task(mebibyte), task(len)

    def body() -> None:
        if sum(size.map(make.map(range(n))).result()) != n * MIB:
            raise AssertionError("wrong sizes")

    return {"wall_s": _seconds(body, resumable)}


# -- a killed driver ---------------------------------------------------------------------------------


def killed_at_half(kind: str, quick: bool) -> Figures:
    """Begin in one process, kill it at half, go on in another."""
    n = 50_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="anabranch-bench-") as home:
        env = {**os.environ, "ANABRANCH_HOME": home, "ANABRANCH_LOG_LEVEL": "ERROR"}
        command = [sys.executable, "-m", "benchmarks.subjects.resuming", kind, str(n)]
        first = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
        if first.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the first driver ended with {first.returncode}")
        run, done, sent, rate = first.stdout.split()
        second = subprocess.run([*command, run], env=env, stdout=subprocess.PIPE, text=True, check=True)
        begins, kept = second.stdout.split()
    repeats = int(done) + int(sent) - int(kept)
    return {"begins_s": float(begins), "repeats": repeats, "over": repeats - int(sent) - 0.05 * float(rate)}


def drive(kind: str, n: int, run: str, born: float) -> None:
    """One of the two drivers; says on standard output what the other process is to know."""
    from anabranch import flow, session, task
    from anabranch.core import context

    one = task(inc)

    @flow(name="million", resumable=True, runner=runner_of(kind))
    def million() -> None:
        futures = one.map(range(n))
        map, began = futures._map, time.perf_counter()
        if run:
            kept = map.done
            while map.done == kept:
                time.sleep(0.001)
            print(time.time() - born, kept, flush=True)
            expect_sum(futures.result(), n)
            return
        while map.done < n // 2:
            time.sleep(0.001)
        here = context.current_flow.get()
        assert here is not None
        done, sent = map.done, session.current().pump.inspect(lambda: map.queue.sent)
        print(here.name, done, sent, done / (time.perf_counter() - began), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    if run:
        million.resume(run)
    else:
        million()


def resume_row(kind: str) -> Row:
    what = f"driver killed with -9 at half of 1M, {kind}: until the next one has new results"
    bars = (
        Bar("begins_s", "s", at_most=5),
        Bar("repeats", "items"),
        Bar("over", "items run again beyond the window and 50 ms of items", at_most=0),
    )
    return Row(f"resume_{kind}", what, functools.partial(killed_at_half, kind), bars, most=3)


ROWS = (
    Row(
        "resumable_small", "100k no-ops, processes, resumable=True", functools.partial(small, True),
        (Bar("rate", "items/s"),), functools.partial(small, False), "ours, not resumable",
        unfair="what a resumable run adds: a digest of each input, a file of values for each report",
    ),
    Row(
        "resumable_large", "500 results of 1 MiB, mapped on, processes, resumable=True",
        functools.partial(large, True), (Bar("wall_s", "s"),), functools.partial(large, False), "ours, not resumable",
        unfair="ours writes 500 MiB to disk and waits for it; the peer writes nothing",
    ),
    resume_row("threads"),
    resume_row("processes"),
)  # fmt: skip

if __name__ == "__main__":
    ticks = os.sysconf("SC_CLK_TCK")
    began = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / ticks
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    kind, items, *run = sys.argv[1:]
    drive(kind, int(items), run[0] if run else "", time.time() - (uptime - began))
