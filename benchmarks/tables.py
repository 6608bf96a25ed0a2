"""Tables of the contests: one line a system."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import plan
from benchmarks.contests import FAN_OUT, LATENCY, Contest
from benchmarks.peers import ABSENT
from benchmarks.rows import short
from benchmarks.systems import BY_NAME, SYSTEMS

if TYPE_CHECKING:
    from benchmarks.sampling import Journal, Sample


def line(sample: Sample) -> str:
    """One sample, for the terminal."""
    told = ", ".join(f"{name.replace('_', ' ')} {short(value)}" for name, value in sample.figures.items())
    return f"{sample.row:<24} {BY_NAME[sample.side].what:<40} {sample.error or told}"


def last_words(error: str) -> str:
    """An error without the lines of the traceback before it."""
    return "; ".join(part.rpartition(" | ")[2].strip() for part in error.split("; "))


def values(journal: Journal, system: str, figure: str) -> dict[int, list[float]]:
    """All samples of one figure of the fan-out, by the number of items."""
    found: dict[int, list[float]] = {}
    for s in journal.samples:
        if s.row.startswith(FAN_OUT) and s.side == system and not s.error:
            found.setdefault(Contest(s.row).items, []).append(s.figures[figure])
    return dict(sorted(found.items()))


def by_size(journal: Journal, system: str, figure: str) -> dict[int, float]:
    """Their medians."""
    return {n: statistics.median(several) for n, several in values(journal, system, figure).items()}


def with_spread(several: list[float]) -> str:
    """The median, and where there are several the lowest and highest."""
    spread = f" ({short(min(several))}-{short(max(several))})" if len(several) > 1 else ""
    return short(statistics.median(several)) + spread


def why_not(journal: Journal, row: str, system: str) -> str:
    """Why there is no figure, in the table's few words."""
    errors = [s.error for s in journal.samples if s.row == row and s.side == system and s.error]
    if not errors:
        return "-"
    known = (ABSENT, plan.TOO_SLOW, "stopped")
    return next((word for word in known if errors[0].startswith(word)), "FAILED")


def taking_part(journal: Journal, kind: str) -> list[str]:
    """Systems with a sample, in the order of the registry."""
    there = {s.side for s in journal.samples if s.row.partition("@")[0] == kind}
    return [system.name for system in SYSTEMS if system.name in there]


def fan_out(journal: Journal) -> list[str]:
    """Items a second, and by how much the driver grew, by the number of items."""
    sizes = sorted({Contest(s.row).items for s in journal.samples if s.row.startswith(FAN_OUT)})
    out = ["| system | " + " | ".join(f"n = {short(n)}" for n in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for name in taking_part(journal, FAN_OUT):
        rates, grown = values(journal, name, "rate"), by_size(journal, name, "driver_mb")
        cells = [
            f"{with_spread(rates[n])}/s, {short(grown[n])} MB"
            if n in rates
            else why_not(journal, f"{FAN_OUT}@{n}", name)
            for n in sizes
        ]
        out.append(f"| {BY_NAME[name].what} | " + " | ".join(cells) + " |")
    return out


def latency(journal: Journal) -> list[str]:
    out = ["| system | p50 us (lowest-highest) | p99 us |", "|---|---|---|"]
    for name in taking_part(journal, LATENCY):
        good = [s.figures for s in journal.samples if s.row == LATENCY and s.side == name and not s.error]
        if not good:
            out.append(f"| {BY_NAME[name].what} | {why_not(journal, LATENCY, name)} | - |")
            continue
        middle = [f["p50_us"] for f in good]
        high = short(statistics.median(f["p99_us"] for f in good))
        out.append(f"| {BY_NAME[name].what} | {with_spread(middle)} | {high} |")
    return out


def sections(journal: Journal) -> list[str]:
    """The contests' part of the document; nothing of what was not measured."""
    out: list[str] = []
    if taking_part(journal, FAN_OUT):
        limit = journal.about["limit"]
        out += ["", "## Fan-out: items a second, and growth of the driver", ""]
        out += [
            f"No-op tasks, two workers, everything started and warmed up before the clock. A sample is stopped after "
            f"{limit:g} s (and {plan.START_SECONDS:g} s for start and end). A system that was stopped, or that would "
            f"need twice the limit at the rate of the size before, is *not tried* at the next. Ours has its record on.",
            "",
            *fan_out(journal),
        ]
    if taking_part(journal, LATENCY):
        out += ["", "## One task at a time: submit to result", "", *latency(journal)]
    bad = [
        f"- {s.row}, {BY_NAME[s.side].what}: {last_words(s.error)}"
        for s in journal.samples
        if s.error and s.side in BY_NAME and not plan.skipped(s)
    ]
    if bad:
        out += ["", "## Contestants that were stopped or failed", "", *dict.fromkeys(bad)]
    return out
