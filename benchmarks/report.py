"""The table of bars on the terminal, and docs/benchmarks.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anabranch
from benchmarks import parts, plots, tables
from benchmarks.contests import FAN_OUT, LATENCY
from benchmarks.peers import ROOT
from benchmarks.registry import NAMES, find
from benchmarks.rows import short
from benchmarks.sampling import NOISY, judge

if TYPE_CHECKING:
    from benchmarks.sampling import Journal, Verdict

HEADS = ("what", "figure", "bar", "ours (lowest-highest)", "peer", "ratio", "verdict")
PEERS = ("cloudpickle", "dask", "distributed", "numpy", "pydantic", "ray")


def cells(v: Verdict) -> tuple[str, ...]:
    """One line of the table, as text."""
    unit = v.bar.unit
    figure = v.bar.figure.replace("_", " ")
    if v.ours is None:
        return (v.row.what, figure, v.bar.text(), "-", "-", "-", v.word)
    ours = f"{short(v.ours)} {unit}".rstrip()
    if v.samples > 1 and v.low is not None and v.high is not None:
        ours += f" ({short(v.low)}-{short(v.high)})"
    peer = f"{short(v.peer)}" if v.peer is not None else "-"
    return (v.row.what, figure, v.bar.text(), ours, peer, f"{v.ratio:.2f}" if v.ratio is not None else "-", v.word)


def line(v: Verdict) -> str:
    """One line for the terminal."""
    _, figure, bar, ours, peer, ratio, word = cells(v)
    text = f"{v.row.name:<24} {figure:<16} {ours:<36} peer {peer:<8} x{ratio:<7} bar {bar:<36} {word}"
    others = "".join(f"\n    {name}: {short(value)} {v.bar.unit}".rstrip() for name, value in v.others.items())
    return f"{text}{others}" + (f"\n    {v.error}" if v.error else "")


def machine() -> str:
    """What a reader needs to know of this machine; no names."""
    model = next(
        (t.split(":", 1)[1].strip() for t in _lines("/proc/cpuinfo") if t.startswith("model name")), platform.machine()
    )
    total = next((int(t.split()[1]) for t in _lines("/proc/meminfo") if t.startswith("MemTotal")), 0)
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{cores} cores ({model}), {total / (1 << 20):.0f} GiB, {system}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def versions() -> str:
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def peers_versions() -> str:
    """What benchmarks/peers.txt pins; a contestant that is not installed says so in its line."""
    pins = (ROOT / "benchmarks" / "peers.txt").read_text().splitlines()
    return ", ".join(pin.replace("==", " ") for pin in pins if "==" in pin and not pin.startswith("#"))


def commit() -> str:
    """`` (0123abc)``; "" where there is no repository, or no git."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return f" ({subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()})"
    except (OSError, subprocess.CalledProcessError):
        return ""


def about(quick: bool, repeat: int, limit: float, borrowed: bool) -> dict[str, Any]:
    """What a run's journal begins with."""
    return {
        "machine": machine(),
        "version": anabranch.__version__,
        "commit": commit(),
        "versions": versions(),
        "peers": peers_versions(),
        "quick": quick,
        "repeat": repeat,
        "limit": limit,
        "borrowed": borrowed,
    }


def verdicts(journal: Journal) -> list[Verdict]:
    """Lines of the table of bars, in the order of the registry."""
    found = []
    for name in NAMES:
        if taken := [s for s in journal.samples if s.row == name]:
            found += judge(find(name), taken, journal.best)
    return found


def calibration(journal: Journal) -> str:
    return f"calibration loop: best {journal.best * 1e3:.1f} ms, median {statistics.median(journal.loops) * 1e3:.1f} ms"


INTRO = """# Benchmarks

Written by `make bench`, which installs the peers that are not ours to depend on (in an environment of their own),
measures everything, prints the same tables and draws the plots. On a cluster of your own: `python -m
benchmarks --address tcp://host:8786` (Dask) or `--address host:6379` (Ray). `python -m benchmarks profile` says where
the time of an item goes; [profile.md](profile.md) is what it said last.

- Machine: {machine}. Load average {load_low:.1f} to {load_high:.1f} after the samples.
- Versions: anabranch {version}{commit}; {versions}. Peers' environment: {peers}.
- A fixed loop beside each sample took {best_ms:.1f} ms at best and {median_ms:.1f} ms in the median. A row whose loop
  took over {noisy:g}x the best was measured on a busy machine: there a missed absolute bar passes if the ratio to the
  peer holds ("pass (ratio)").
- That loop cannot see how long it takes to wake a thread on another processor. The pool's sample of submit to result is
  taken with its two threads on two processors, as ours are. The bar was set where the pool took 62 us; where it takes
  over {noisy:g}x of that, the bar counts in multiples of the pool (200 / 62).
- Every sample is a process of its own, with an empty record in a temporary folder. Ours and the peer's are taken in
  turn; figures are medians of up to {repeat}, with the lowest and highest.
- Ours runs with default options and the record on, two workers, all of them up and warmed by small maps; its clock
  runs from `map()` (or the first `submit`) to the last value **and** the record's last commit. Sums are checked.
  Terminal output and logs go to a file.
{quick}
"""
CROWDED = 2  # programs a processor, by the load average
BUSY = (
    "**Taken on a busy machine.** A time that misses its bar here may hold it where nothing else runs, and is no proof "
    "of either. A ratio of wall times flatters the side that is done within one slice of the processor; ratios of "
    "processor time do not."
)
UNFAIR = """
## What is unfair

- Peers keep no record, no states, no retries: what they do less, they are spared. Prefect keeps a record, in a server
  that it starts by itself; ours waits for the last commit, Prefect's clock stops before its server has stored the
  runs.
- Ours bundles items into chunks, and most peers of the map rows do not; where a peer can be given chunks by hand,
  that is a line of its own, at a size that suits a no-op (500 or 1,000). `ProcessPoolExecutor.map` with a tuned chunk
  size is the peer of the 1 ms row, where it is at its best.
- Rates of a peer measured on fewer items (named in its row) are taken to hold for more.
- Our Dask runner starts a cluster whose scheduler is a process of its own and does not queue; the peer is
  `LocalCluster` as it comes, with the scheduler in the driver's process. What `worker-saturation=inf` alone gives is
  shown beside it.
- A sample of chains is the median of five rounds; the first round of its process is a line of its own, on both sides.
- METG compares with the speed that plain pools reach with large parts of the same kernel, both slots at once.
- The peer of task graphs on threads and processes is a scheduler that sees the whole graph before it begins; ours
  gets one submit after the other. On Dask and Ray the engine resolves dependencies on its workers; ours sends a task
  when its inputs are there, which costs a round trip a step.
- The constant that an expert shares by hand is inherited by fork on processes, and threads share it anyway: no copy,
  and nothing to measure but the rest of a small map. It is judged on Dask and Ray.
- joblib, loky, Parsl, executorlib and Prefect run in an environment of their own, with the same Python.
- Resident memory counts what the allocator keeps, not only what is alive. Growth of the driver is its highest
  resident memory during the fan-out above what it had before.

## Slower than wanted, and why

- Chains on threads: about 40 % of a link is `submit` (a future and an entry that it follows another one), the rest the
  chunk it travels in and its end; all of it is Python under one interpreter lock, as in the pool, which keeps neither
  states nor a record.
- Submit to result on threads: 75 us of Python for a chunk of one, and two threads to be woken, which takes as long
  again where they sit on two processors. It is near its bar on virtual machines whose idle processors are slow to wake.
- Maps of a few hundred items: chunks begin with one item and grow, so the first tenth of a second is not
  the rate of the map.
- `resumable=True`: each value is pickled and written before it counts, and so are the inputs of what failed; 1 MiB
  values cost what the disk takes.
- Task graphs with several inputs: a round trip a step, see above; it shows where a step has little to do (trees).
- Cold start on Dask and Ray: the engine's own, and up to 1.5 s for a scheduler in a process of its own or the actors.
"""


def facts(journal: Journal) -> dict[str, Any]:
    loads = [s.load for s in journal.samples if not s.error] or [0.0]
    quick = "- **Quick sizes: these figures prove nothing.**\n" if journal.about["quick"] else ""
    shared = "- Dask or Ray was a running cluster, which ours and its peers shared.\n"
    return {
        **journal.about,
        "load_low": min(loads),
        "load_high": max(loads),
        "best_ms": journal.best * 1e3,
        "median_ms": statistics.median(journal.loops) * 1e3,
        "noisy": NOISY,
        "quick": quick + (shared if journal.about["borrowed"] else ""),
    }


def document(journal: Journal, verdicts: list[Verdict]) -> str:
    """docs/benchmarks.md as text; draws its plots."""
    first = [v for v in verdicts if v.row.name not in parts.APART]
    out = [INTRO.format(**facts(journal)), *table(first)]
    taken = {sample.row.partition("@")[0] for sample in journal.samples}
    if missing := [name for name in (*NAMES, FAN_OUT, LATENCY) if name not in taken]:
        out += ["", f"Not taken this time: {', '.join(missing)}."]
    out += ["", "## Peers", "", *peers_of(first)]
    failures = [f"- {v.row.name}: {tables.last_words(v.error)}" for v in first if v.error]
    if failures:
        out += ["", "## Samples that failed", "", *dict.fromkeys(failures)]
    out += tables.sections(journal)
    out += plots.section(journal)
    page = "\n".join(out) + "\n" + UNFAIR
    return with_parts(page, journal, verdicts)


def with_parts(page: str, journal: Journal, verdicts: list[Verdict]) -> str:
    """The page with the parts that the journal has rows of, in place of those that it had."""
    for part in parts.of(journal):
        page = parts.put(page, part.title, section(part, journal, verdicts))
    return page


def section(part: parts.Part, journal: Journal, verdicts: list[Verdict]) -> str:
    """A part of the page, with the conditions of its own samples."""
    mine = [v for v in verdicts if v.row.name in part.names]
    samples = [s for s in journal.samples if s.row in part.names and not s.error]
    loads = [s.load for s in samples] or [0.0]
    loops = [s.calibration_s * 1e3 for s in samples] or [0.0]
    about, most = journal.about, max(Counter((s.row, s.side) for s in samples).values(), default=0)
    out = [f"## {part.title}", "", part.says, ""]
    out += [
        f"{about['machine']}; anabranch {about['version']}{about['commit']}, Prefect and the others as pinned in "
        f"`benchmarks/peers.txt`. Medians of up to {most} samples a side, taken in turn. Load average "
        f"{min(loads):.1f} to {max(loads):.1f} after the samples; the loop beside them took {min(loops):.1f} to "
        f"{max(loops):.1f} ms."
    ]
    if about["quick"]:
        out += ["", "**Quick sizes: these figures prove nothing.**"]
    if min(loads) > CROWDED * int(str(about["machine"]).split()[0]):
        out += ["", BUSY]
    out += ["", *table(mine), ""]
    if missing := sorted(part.names - {s.row for s in samples}):
        out += [f"Not taken this time: {', '.join(missing)}.", ""]
    out += peers_of(mine)
    failures = [f"- Failed, {v.row.name}: {tables.last_words(v.error)}" for v in mine if v.error]
    return "\n".join([*out, *dict.fromkeys(failures)]) + "\n\n"


def table(found: list[Verdict]) -> list[str]:
    return [
        "| " + " | ".join(HEADS) + " |",
        "|" + "---|" * len(HEADS),
        *("| " + " | ".join(cells(v)) + " |" for v in found),
    ]


def peers_of(found: list[Verdict]) -> list[str]:
    """What the peers of the rows are, and the figures of further ones."""
    out = []
    seen: set[str] = set()
    for v in found:
        if (v.row.peer_name or v.row.unfair) and v.row.name not in seen:
            seen.add(v.row.name)
            unfair = f" Unfair: {v.row.unfair}." if v.row.unfair else ""
            peer = f": {v.row.peer_name}" if v.row.peer_name else ""
            out.append(f"- {v.row.what}{peer}.{unfair}")
        out += [f"  - {name}: {short(value)} {v.bar.unit}".rstrip() for name, value in v.others.items()]
    return out
