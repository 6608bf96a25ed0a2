"""Memory: a million items, large results that are mapped on, an endless stream."""

from __future__ import annotations

import functools
import os
import time

from benchmarks.engines import dask_engine
from benchmarks.measure import (
    MIB,
    expect_sum,
    flush,
    in_flow,
    inc,
    recorded_seconds,
    reset_peak,
    runner_of,
    status_bytes,
)
from benchmarks.pss import Sampler
from benchmarks.rows import Bar, Figures, Row


def million(kind: str, quick: bool) -> Figures:
    from anabranch import task

    n = 100_000 if quick else 1_000_000
    one = task(inc)

    def body() -> Figures:
        base = status_bytes("VmRSS")
        reset_peak()
        seconds = recorded_seconds(lambda: expect_sum(one.map(range(n)).result(), n))
        return {"wall_s": seconds, "grows_mb": (status_bytes("VmHWM") - base) / 1e6}

    return in_flow(runner_of(kind), body)


def million_row(kind: str, seconds: float = 60) -> Row:
    return Row(
        f"million_{kind}", f"map of 1M no-ops, {kind}: driver's growth and time", functools.partial(million, kind),
        (Bar("grows_mb", "MB", at_most=250), Bar("wall_s", "s", at_most=seconds)), most=3, seconds=300,
    )  # fmt: skip


def make(i: int) -> bytes:
    return bytes([i % 251]) * (1 << 20)


def length(data: bytes) -> int:
    return len(data)


def large_results(kind: str, quick: bool) -> Figures:
    from anabranch import task

    first, then = task(make), task(length)

    def go(n: int) -> int:
        """The bytes that went to disk."""
        made = first.map(range(n))
        account = made._map.footprint  # counts; holds no value
        lengths = then.map(made)
        del made
        if sum(lengths.result()) != n * MIB:
            raise AssertionError("lengths are wrong")
        return account.spilled

    def body() -> Figures:
        small, large = (100, 300) if quick else (1_000, 2_000)
        go(small)
        flush()
        base = Sampler().now()
        with Sampler() as fewer:
            go(small)
        start = time.perf_counter()
        with Sampler() as more:
            spilled = go(large)
            seconds = time.perf_counter() - start
        return {
            "grows_mb": (more.highest - base) / 1e6,
            "further_mb": (more.highest - fewer.highest) / 1e6,
            "base_mb": base / 1e6,
            "spilled_mb": spilled / 1e6,
            "wall_s": seconds,
        }

    return in_flow(runner_of(kind), body)


def large_row(kind: str) -> Row:
    # Of Dask and Ray the engine itself may spill; what we count is what we told to.
    bars = (
        Bar("grows_mb", "MB", at_most=300),
        Bar("further_mb", "MB, more than 1,000 of them take", at_most=100),
        Bar("spilled_mb", "MB", at_most=0),
        Bar("wall_s", "s"),
    )
    what = f"2,000 results of 1 MiB, mapped on, first list dropped, {kind}: growth of the tree"
    return Row(f"large_{kind}", what, functools.partial(large_results, kind), bars, most=3)


def stream(kind: str, late: float, quick: bool) -> Figures:
    from anabranch import task

    early, late = (2.0, 8.0) if quick else (10.0, late)
    one = task(inc)

    def body() -> Figures:
        items = (i for i in range(10_000_000))
        start = time.perf_counter()
        base, seen = 0, 0
        for value in one.map(items).results():
            seen += 1
            if value != seen:
                raise AssertionError(f"value {seen - 1} of the stream is {value}")
            if not seen % 1000:
                at = time.perf_counter() - start
                if at > early and not base:
                    base = status_bytes("VmRSS")
                    reset_peak()
                if at > late:
                    break
        seconds = time.perf_counter() - start
        figures = {"rate": seen / seconds, "seconds": seconds, "items": float(seen)}
        figures["grows_mb"] = (status_bytes("VmHWM") - base) / 1e6 if base else float("nan")
        return figures

    return in_flow(runner_of(kind), body)


def stream_row(kind: str, late: float) -> Row:
    name = "stream" if kind == "threads" else f"stream_{kind}"
    what = f"generator of up to 10M items through .results(), {kind}: growth from second 10 to {late:g}"
    bars = (Bar("grows_mb", "MB", at_most=20), Bar("rate", "items/s"))
    return Row(name, what, functools.partial(stream, kind, late), bars, most=1)


def scheduler(quick: bool) -> Figures:
    """Growth of the process that the scheduler is in; ours has it outside the driver."""
    from anabranch import task

    n = 40_000 if quick else 400_000
    one, runner = task(inc), runner_of("dask")

    def body() -> Figures:
        pid = runner._link.client.run_on_scheduler(os.getpid)
        base = status_bytes("VmRSS", pid)
        seconds = recorded_seconds(lambda: expect_sum(one.map(range(n)).result(), n))
        grows = status_bytes("VmHWM", pid) - base  # its highest ever: start-up stays below what a map needs
        return {"grows_mb": grows / 1e6, "bytes_each": grows / n, "wall_s": seconds}

    return in_flow(runner, body)


def scheduler_peer(quick: bool) -> Figures:
    """The same of raw Dask, one task an item; its scheduler and client are one process."""
    n = 2_000 if quick else 20_000
    with dask_engine() as engine:
        pid = engine.raw.run_on_scheduler(os.getpid)
        base = status_bytes("VmRSS", pid)
        start = time.perf_counter()
        expect_sum(engine.gather(engine.raw.map(inc, range(n), pure=False)), n)
        grows = status_bytes("VmHWM", pid) - base
        return {"bytes_each": grows / n, "wall_s": time.perf_counter() - start}


ROWS = (
    million_row("threads"),
    million_row("processes"),
    million_row("dask", 120),
    million_row("ray", 120),
    Row(
        "scheduler_dask",
        "map of 400k no-ops on a local cluster: growth of the scheduler's process",
        scheduler,
        (Bar("grows_mb", "MB", at_most=300), Bar("bytes_each", "bytes an item")),
        scheduler_peer,
        "client.map of 20k, one task an item, on a LocalCluster",
        most=3,
        unfair="the peer's process holds its client and its values as well",
    ),
    *map(large_row, ("threads", "processes", "dask", "ray")),
    stream_row("threads", 60),
    stream_row("processes", 60),
    stream_row("dask", 25),
    stream_row("ray", 25),
)
