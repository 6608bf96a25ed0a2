"""anabranch with default options and its record on; the last commit is inside the clock."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.measure import flush, in_flow, inc, runner_of

if TYPE_CHECKING:
    from benchmarks.rows import Figures
    from benchmarks.systems import Body


def _run(kind: str, body: Body) -> Figures:
    from anabranch import task

    one = task(inc)

    def fan_out(n: int) -> list[int]:
        values: list[int] = one.map(range(n)).result()
        flush()
        return values

    def single(i: int) -> int:
        value: int = one.submit(i).result()
        return value

    return in_flow(runner_of(kind), lambda: body(fan_out, single))


threads = functools.partial(_run, "threads")
processes = functools.partial(_run, "processes")
dask = functools.partial(_run, "dask")
ray = functools.partial(_run, "ray")
