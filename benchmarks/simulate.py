"""`python -m benchmarks simulate`: the real dispatcher under a virtual clock, with workers that nobody has to have.

    bars    10,000 workers and 10,000,000 items, against the bars (the default)
    knee    workers and durations of items, where each message costs the driver half a millisecond
    one     a single simulation of one's own: `simulate one --help`

Nothing sleeps, nothing runs: a worker is a place in a heap of times. The dispatcher is the one of `anabranch/engine`,
and the processor time of its steps is measured apart from the simulator's. docs/scale.md has what it said last.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from benchmarks.simulation.figures import simulate
from benchmarks.simulation.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.simulation.figures import Figures

CPU_US, BYTES = 3.0, 16.0
ENGINE_MESSAGE = 0.0005  # seconds: an engine's scheduler takes a millisecond for a chunk, there and back
BARS: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("sigma 0.8", {}, 0.05),
    ("sigma 0.8, in an allocation of an hour", {"walltime": 3600.0}, 0.05),
    ("sigma 0.8, a node lost", {"lost": 0.01}, 0.08),
    ("sigma 0.8, 10 % join late, 1 % slow", {"late": 0.1, "slow": 0.01}, 0.05),
    ("sigma 1.5, in any order", {"sigma": 1.5}, 0.05),
    ("sigma 1.5, longest first", {"sigma": 1.5, "longest_first": True}, 0.05),
    ("sigma 1.5, longest first, a node lost", {"sigma": 1.5, "longest_first": True, "lost": 0.01}, 0.08),
)
COLUMNS = (
    "| what | idle above the bound | bar | of a free dispatcher | CPU an item | bytes an item | messages/s | step "
    "| verdict |"
)
RULE = "|---" * 9 + "|"
PASS, BEYOND = "pass", "MISS: idle, as that of a free dispatcher"  # no dispatcher without foresight does better
KNEE_WORKERS = (100, 300, 1_000, 3_000, 10_000)
KNEE_MEANS = (0.01, 0.1, 1.0, 10.0)
KNEE_EACH = 100  # items a worker


def main(argv: Sequence[str]) -> int:
    """Run what is asked for; returns 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks simulate", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("bars", "knee", "one"), default="bars")
    parser.add_argument("--free", action="store_true", help="one: compare with a dispatcher without cost")
    for field in fields(Setup):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default, help=f"({field.default})")
    given = vars(parser.parse_args(argv))
    what, free = given.pop("what"), given.pop("free")
    if what == "knee":
        return knee(given)
    if what == "one":
        print(COLUMNS, RULE, line("one", simulate(Setup(**given), free=free), None), sep="\n")
        return 0
    return bars(given)


def bars(given: dict[str, Any]) -> int:
    """Print the table of the bars; `given` may make it smaller."""
    print(COLUMNS, RULE, sep="\n")
    missed = []
    for name, changes, bar in BARS:
        found = simulate(Setup(**{**given, **changes}), free=changes in ({}, {"sigma": 1.5}))
        print(line(name, found, bar), flush=True)
        if verdict(found, bar) not in (PASS, BEYOND):
            missed.append(name)
    if missed:
        print(f"missed: {'; '.join(missed)} (idle as above, {CPU_US:g} us, {BYTES:g} bytes)", file=sys.stderr)
    return int(bool(missed))


def verdict(found: Figures, bar: float) -> str:
    """Say whether a simulation holds the bars, and which it misses."""
    missed = []
    if found.cpu_us > CPU_US:
        missed.append("CPU")
    if found.bytes_an_item > BYTES:
        missed.append("bytes")
    if found.idle >= bar:
        if not missed and found.free and found.idle_free >= bar:
            return BEYOND
        missed.append("idle")
    return f"MISS: {', '.join(missed)}" if missed else PASS


def line(name: str, found: Figures, bar: float | None) -> str:
    """Return a row of the table; without a bar there is no verdict."""
    free = f"{found.idle_free:.1%}" if found.free else "-"
    cells = (
        name, f"{found.idle:.1%}", "-" if bar is None else f"< {bar:.0%}", free, f"{found.cpu_us:.2f} us",
        f"{found.bytes_an_item:.1f}", f"{found.messages:,.0f}", f"{found.longest_step * 1e3:.0f} ms",
        "-" if bar is None else verdict(found, bar),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def knee(given: dict[str, Any]) -> int:
    """Print how much longer runs take than with a free dispatcher, and in brackets which share of them it is busy."""
    heads = " | ".join(f"{mean:g} s" for mean in KNEE_MEANS)
    print(f"| workers | {heads} |", "|---" * (1 + len(KNEE_MEANS)) + "|", sep="\n")
    for workers in KNEE_WORKERS:
        cells = []
        for mean in KNEE_MEANS:
            sizes = {"workers": workers, "items": KNEE_EACH * workers, "mean": mean}
            found = simulate(Setup(**{**given, "message": ENGINE_MESSAGE, **sizes}), free=True)
            cells.append(f"{found.makespan / found.free:.2f} ({min(found.busy, 1):.0%})")
        print(f"| {workers:,} | {' | '.join(cells)} |", flush=True)
    return 0
