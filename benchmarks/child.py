"""One sample: `python -m benchmarks.child ROW SIDE [--quick]` prints its figures as one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.contests import Contest
from benchmarks.registry import NAMES, find

if TYPE_CHECKING:
    from benchmarks.rows import Side

MARK = "figures: "


def calibrate() -> float:
    """Seconds of a fixed loop (best of three): how fast this machine is just now."""

    def once() -> float:
        start, total = time.perf_counter(), 0
        for i in range(400_000):
            total += i & 3
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def side_of(name: str, side: str) -> Side:
    """A row's side, a contest's system, or a profile's runner."""
    if name in NAMES:
        return find(name).side(side)
    if name.startswith("profile@"):
        from benchmarks import profile

        return profile.side(name.partition("@")[2], side)
    return Contest(name).side(side)


def main() -> None:
    name, side = sys.argv[1:3]
    measure = side_of(name, side)
    before = calibrate()
    figures = measure("--quick" in sys.argv)
    sample = {"figures": figures, "calibration_s": (before + calibrate()) / 2, "load": os.getloadavg()[0]}
    print(MARK + json.dumps(sample), flush=True)


if __name__ == "__main__":
    main()
