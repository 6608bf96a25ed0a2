"""`python -m benchmarks`: measure, print the tables, write JSON lines and the document.

`python -m benchmarks profile` says instead where the time of an item goes; `python -m benchmarks simulate`, what the
dispatcher does with ten thousand workers.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import parts, plan, report, tables
from benchmarks.contests import FAN_OUT, LATENCY
from benchmarks.measure import ADDRESS
from benchmarks.peers import ROOT
from benchmarks.registry import NAMES, find
from benchmarks.sampling import Journal, adopt_orphans, judge, take_all
from benchmarks.systems import BY_NAME, SYSTEMS, System

DOCUMENT = ROOT / "docs" / "benchmarks.md"
ALL = [*NAMES, FAN_OUT, LATENCY]
CONTEST_ROUNDS = 3  # at most


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = found.add_argument
    add("--only", default="", help=f"with commas between: {', '.join(ALL)}")
    add("--quick", action="store_true", help="smaller sizes: shows that it works, proves no bar")
    add("--repeat", type=int, default=5, help="samples a side (long rows take fewer)")
    add("--systems", default="", help=f"of {FAN_OUT} and {LATENCY}: {', '.join(BY_NAME)}")
    add("--sizes", default="", help=f"items of {FAN_OUT}; {','.join(map(str, plan.SIZES))} if not given")
    add("--limit", type=float, default=120.0, help=f"seconds of one sample of {FAN_OUT}")
    add("--address", help="of a running Dask (tcp://...) or Ray (host:port): that engine's rows, on it")
    add("--json", type=Path, help="write one line a sample to this file")
    add("--from", dest="journals", type=Path, nargs="+", help="measure nothing: take the samples of these files")
    add("--write-docs", action="store_true", help="write docs/benchmarks.md and its plots, or its parts alone")
    return found


def arguments(argv: list[str]) -> argparse.Namespace:
    read = parser()
    given = read.parse_args(argv)
    given.names = chosen(read, "rows", given.only, of_engine(given.address) if given.address else ALL, ALL)
    able = [s.name for s in SYSTEMS if not given.address or s.engine == engine_at(given.address)]
    given.systems = tuple(BY_NAME[name] for name in chosen(read, "systems", given.systems, able, able))
    default = plan.QUICK_SIZES if given.quick else plan.SIZES
    try:
        given.sizes = tuple(sorted(int(n) for n in given.sizes.split(",") if n)) or default
    except ValueError:
        read.error(f"--sizes takes whole numbers with commas between, not {given.sizes!r}")
    if given.repeat < 1 or given.sizes[0] < 1:
        read.error("--repeat and --sizes count from 1")
    return given


def chosen(read: argparse.ArgumentParser, what: str, text: str, default: list[str], known: list[str]) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := sorted(set(names) - set(known)):
        read.error(f"unknown {what} {', '.join(unknown)}; known are {', '.join(known)}")
    return names or default


def engine_at(address: str) -> str:
    """Dask's addresses name a protocol, Ray's do not."""
    return "dask" if "://" in address and not address.startswith("ray://") else "ray"


def of_engine(address: str) -> list[str]:
    """The rows that a cluster at that address can run: it is up already, and its scheduler's memory is not in reach."""
    kind = engine_at(address)
    own = {"scheduler_dask", f"one_task_{kind}"}
    return [name for name in ALL if kind in name.split("_") and name not in own] + [FAN_OUT, LATENCY]


def measure(given: argparse.Namespace, journal: Journal) -> None:
    """Take the samples, and tell of each row when it is done."""
    for name in given.names:
        if name in NAMES:
            row = find(name)
            taken = [journal.add(s) for s in take_all(row, given.quick, given.repeat)]
            for verdict in judge(row, taken, journal.best):
                print(report.line(verdict), flush=True)
        else:
            contest(name, given.systems, given, journal)


def contest(kind: str, systems: tuple[System, ...], given: argparse.Namespace, journal: Journal) -> None:
    going = plan.Plan(systems, given.sizes, given.limit, min(given.repeat, CONTEST_ROUNDS), given.quick)
    for sample in going.run(kind):
        journal.add(sample)
        print(tables.line(sample), flush=True)


def main(argv: list[str]) -> int:
    if argv[:1] == ["profile"]:
        from benchmarks import profile

        return profile.main(argv[1:])
    if argv[:1] == ["simulate"]:
        from benchmarks import simulate

        return simulate.main(argv[1:])
    given = arguments(argv)
    if given.journals:
        journal = Journal.read(given.journals)
    else:
        if given.address:
            os.environ[ADDRESS] = given.address
        adopt_orphans()
        journal = Journal(report.about(given.quick, given.repeat, given.limit, bool(given.address)), given.json)
        print(f"{journal.about['machine']}; load average {os.getloadavg()[0]:.1f}", flush=True)
        measure(given, journal)
    verdicts = report.verdicts(journal)
    if given.journals:
        print("\n".join(map(report.line, verdicts)))
    print(report.calibration(journal))
    if given.write_docs:
        before = DOCUMENT.read_text() if parts.alone(journal) else ""
        page = report.with_parts(before, journal, verdicts) if before else report.document(journal, verdicts)
        DOCUMENT.write_text(page)
        print(f"wrote {DOCUMENT.name}")
    ours_failed = [s for s in journal.samples if s.error and s.side.startswith("ours") and not plan.skipped(s)]
    return 1 if ours_failed or any(v.word == "FAILED" for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
