"""What is asked of a map of a million beside its values: states, sets of futures, futures as they end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarks.measure import expect_sum, in_flow, inc, recorded_seconds, reset_peak, runner_of, status_bytes
from benchmarks.rows import Bar, Figures, Row

Ask = Callable[[Any, int], object]  # takes the task and how many items


def results(one: Any, n: int) -> None:
    expect_sum(one.map(range(n)).results(), n)


def wait_of_list(one: Any, n: int) -> Any:
    return _whole(one.map(range(n)).wait(), n)


def states(one: Any, n: int) -> Any:
    futures = one.map(range(n))
    futures.wait()
    return _whole(futures.states, n)


def return_state(one: Any, n: int) -> Any:
    return _whole(one.map(range(n), return_state=True), n)


def wait_function(one: Any, n: int) -> Any:
    from anabranch import wait

    return _whole(wait(one.map(range(n))).done, n)


def as_they_end(one: Any, n: int) -> None:
    from anabranch import as_completed

    _whole(range(sum(1 for _ in as_completed(one.map(range(n))))), n)


def _whole(found: Any, n: int) -> Any:
    if len(found) != n:
        raise AssertionError(f"{len(found)} of {n} items are told of")
    return found  # held until the clock has stopped


def asked(ask: Ask, kind: str, quick: bool) -> Figures:
    from anabranch import task

    n = 100_000 if quick else 1_000_000
    one = task(inc)

    def body() -> Figures:
        base = status_bytes("VmRSS")
        reset_peak()
        seconds = recorded_seconds(lambda: ask(one, n))
        return {"wall_s": seconds, "grows_mb": (status_bytes("VmHWM") - base) / 1e6}

    return in_flow(runner_of(kind), body)


def unkept(quick: bool) -> Figures:
    from anabranch import task

    n = 1_000_000 if quick else 10_000_000
    one = task(inc)

    def body() -> Figures:
        base = status_bytes("VmRSS")
        reset_peak()
        futures = one.map(range(n), keep="none")
        seconds = recorded_seconds(lambda: _whole(futures.wait(), n))
        return {"rate": n / seconds, "grows_mb": (status_bytes("VmHWM") - base) / 1e6}

    return in_flow(runner_of("processes"), body)


def row(name: str, what: str, ask: Ask, kind: str = "threads") -> Row:
    return Row(
        f"asked_{name}" if kind == "threads" else f"asked_{name}_{kind}",
        f"map of 1M no-ops, {what}, {kind}: driver's growth, and time beside that of .results()",
        functools.partial(asked, ask, kind),
        (Bar("grows_mb", "MB", at_most=100), Bar("wall_s", "s", ratio_at_most=1.2)),
        functools.partial(asked, results, kind),
        "the same map, read by .results()",
        seconds=120,
    )


ROWS = (
    row("wait", "m.wait()", wait_of_list),
    row("states", "m.states", states),
    row("return_state", "map(return_state=True)", return_state),
    row("sets", "wait(m)", wait_function),
    row("futures", "as_completed(m)", as_they_end),
    row("wait", "m.wait()", wait_of_list, "processes"),
    row("futures", "as_completed(m)", as_they_end, "processes"),
    Row(
        "asked_unkept_processes",
        'map of 10M no-ops, keep="none" and m.wait(), processes: driver\'s growth',
        unkept,
        (Bar("grows_mb", "MB", at_most=250), Bar("rate", "items/s")),
        most=1,
        seconds=300,
    ),
)
