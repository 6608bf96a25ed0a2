"""The same work by every system: fan-out over n items (throughput, memory), and one task at a time."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.measure import expect_sum, percentile, reset_peak, status_bytes
from benchmarks.pss import Sampler
from benchmarks.systems import BY_NAME, Body, FanOut, One, System

if TYPE_CHECKING:
    from benchmarks.rows import Figures, Side

FAN_OUT, LATENCY = "fan_out", "latency"


def body(n: int) -> Body:
    """Fan out over n items; n = 0: one task at a time."""

    def fan_out(run: FanOut, one: One) -> Figures:
        expect_sum(run(64), 64)
        rss = status_bytes("VmRSS")
        sampler = Sampler(0.25)
        tree = sampler.now()
        reset_peak()
        with sampler:
            start = time.perf_counter()
            values = run(n)
            seconds = time.perf_counter() - start
            held = max(sampler.highest, sampler.now()) - tree
        expect_sum(values, n)
        grows = status_bytes("VmHWM") - rss
        return {"rate": n / seconds, "seconds": seconds, "driver_mb": grows / 1e6, "tree_mb": held / 1e6}

    return fan_out if n else singles


def singles(run: FanOut, one: One, seconds: float = 5.0, most: int = 2_000) -> Figures:
    """One task at a time, as many as fit into the time."""
    expect_sum(run(64), 64)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < most and time.perf_counter() < end:
        start = time.perf_counter()
        if one(len(found)) != len(found) + 1:
            raise AssertionError("wrong value")
        found.append((time.perf_counter() - start) * 1e6)
    found.sort()
    return {"p50_us": percentile(found, 0.5), "p99_us": percentile(found, 0.99), "calls": float(len(found))}


@dataclass(frozen=True)
class Contest:
    """What a measuring process needs to know: `fan_out@1000`, or `latency`."""

    name: str

    @property
    def items(self) -> int:
        """Over how many items; 0: one at a time."""
        return int(self.name.partition("@")[2] or 0)

    def side(self, system: str) -> Side:
        return functools.partial(self._measure, BY_NAME[system])

    def _measure(self, system: System, quick: bool) -> Figures:
        if quick and not self.items:
            return system.run(functools.partial(singles, seconds=1.0, most=200))
        return system.run(body(self.items))
