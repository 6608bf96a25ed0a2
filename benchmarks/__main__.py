"""`python -m benchmarks`: measure the rows, print the table, write JSON lines and the document."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

import anabranch
from benchmarks import report
from benchmarks.measure import ADDRESS
from benchmarks.registry import NAMES, find
from benchmarks.sampling import NOISY, Sample, Verdict, adopt_orphans, judge, take_all, write_json

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help=f"rows, with commas between: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: shows that it works, proves no bar")
    parser.add_argument("--json", type=Path, help="write one line a sample to this file")
    parser.add_argument("--repeat", type=int, default=5, help="samples a side (long rows take fewer)")
    parser.add_argument("--address", help="of a running Dask (tcp://...) or Ray: rows of that engine use it")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args()
    given.names = [n for n in given.only.split(",") if n] or (of_engine(given.address) if given.address else NAMES)
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown rows {', '.join(unknown)}; known are {', '.join(NAMES)}")
    if given.repeat < 1:
        parser.error("--repeat counts from 1")
    return given


def of_engine(address: str) -> list[str]:
    """The rows that a cluster at that address can run."""
    kind = "dask" if "://" in address and not address.startswith("ray://") else "ray"
    return [name for name in NAMES if kind in name.split("_")]


def main() -> int:
    given = arguments()
    if given.address:
        os.environ[ADDRESS] = given.address
    adopt_orphans()
    load_before = os.getloadavg()[0]
    print(f"{report.machine()}; load average {load_before:.1f}", flush=True)
    samples: list[Sample] = []
    verdicts: list[Verdict] = []
    for name in given.names:
        row = find(name)
        taken = []
        for sample in take_all(row, given.quick, given.repeat):
            taken.append(sample)
            samples.append(sample)
            if given.json:
                write_json(given.json, samples)
        found = judge(row, taken, min((s.calibration_s for s in samples if not s.error), default=0.0))
        verdicts += found
        for verdict in found:
            print(report.line(verdict), flush=True)
    loops = [s.calibration_s for s in samples if not s.error] or [0.0]
    print(f"calibration loop: best {min(loops) * 1e3:.1f} ms, median {statistics.median(loops) * 1e3:.1f} ms")
    if given.write_docs:
        facts = {
            "machine": report.machine(),
            "load_before": load_before,
            "load_after": os.getloadavg()[0],
            "version": anabranch.__version__,
            "versions": report.versions(),
            "best_ms": min(loops) * 1e3,
            "median_ms": statistics.median(loops) * 1e3,
            "noisy": NOISY,
            "repeat": given.repeat,
            "quick": "- **Quick sizes: these figures prove nothing.**\n" if given.quick else "",
        }
        DOCUMENT.write_text(report.document(verdicts, facts))
        print(f"wrote {DOCUMENT.name}")
    return 1 if any(v.word == "FAILED" for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
