"""A program that was written for Prefect: run by `anabranch.compat` as it is, and by Prefect 3 itself."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import processor_seconds
from benchmarks.prefect_server import prefect_server
from benchmarks.rows import Bar, Figures, Row

SCRIPT = """
import sys, time
from prefect import flow, task

@task
def inc(x):
    return x + 1

@flow
def mapped(n):
    inc.map(range(10)).result()
    begin = time.perf_counter()
    values = inc.map(range(n)).result()
    took = time.perf_counter() - begin
    assert sum(values) == n * (n + 1) // 2
    return took

if __name__ == "__main__":
    print("seconds", mapped(int(sys.argv[1])))
"""
ITEMS = 1_000
IMPORTS = "from prefect import flow, task"


def scripted(words: list[str], quick: bool, settings: dict[str, str]) -> Figures:
    """Run the script by a Python with these words before its path."""
    n = ITEMS // 10 if quick else ITEMS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.py"
        path.write_text(SCRIPT)
        before, start = used(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, *words, str(path), str(n)], check=True, capture_output=True, text=True,
            env={**os.environ, "ANABRANCH_LOG_LEVEL": "ERROR", "PREFECT_LOGGING_LEVEL": "ERROR", **settings},
        )  # fmt: skip
        whole, spent = time.perf_counter() - start, used() - before
    told = next(line for line in done.stdout.splitlines() if line.startswith("seconds "))
    seconds = float(told.split()[1])
    return {"rate": n / seconds, "map_s": seconds, "script_s": whole, "processor_s": spent}


def ours(quick: bool) -> Figures:
    return scripted(["-m", "anabranch.compat", "prefect"], quick, {})


def beside_a_server(quick: bool) -> Figures:
    """Prefect with a server that runs already."""
    with prefect_server() as server:
        process = server.server()
        server.up()
        before = processor_seconds(process.pid)
        figures = scripted([], quick, server.settings)
        spent = processor_seconds(process.pid) - before
        return {**figures, "processor_s": figures["processor_s"] + spent}


def by_itself(quick: bool) -> Figures:
    """Prefect as it comes: the script starts a server for itself."""
    return scripted([], quick, {})


def imported(before: str, quick: bool) -> Figures:
    """What the script's imports cost above a bare start."""
    bare, found = [], []
    processor(f"{before}{IMPORTS}")  # byte code and file cache
    for _ in range(3 if quick else 7):
        bare.append(processor("pass"))
        found.append(processor(f"{before}{IMPORTS}"))
    middle = [statistics.median(column) for column in (*zip(*found, strict=True), *zip(*bare, strict=True))]
    return {"processor_s": middle[0] - middle[2], "above_s": middle[1] - middle[3]}


def processor(code: str) -> tuple[float, float]:
    """Seconds of processor time, and of wall time, of a Python that runs a line."""
    before, start = used(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return used() - before, time.perf_counter() - start


def used() -> float:
    """Seconds of processor time that programs of this one have taken which have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


ALONE = "Prefect 3 as it comes, with a server that the script starts for itself"
ROWS = (
    Row(
        "compat_map", "a Prefect script, map of 1,000 no-ops on threads, as it is under anabranch.compat", ours,
        (
            Bar("rate", "items/s", ratio_at_least=50), Bar("map_s", "s"),
            Bar("script_s", "s, the whole script"),
            Bar("processor_s", "s of processor time, the whole script and its server"),
        ),
        peer=beside_a_server, peer_name="the same script with Prefect 3, whose server runs already on this machine",
        others={ALONE: by_itself}, apart={"peer": "prefect", ALONE: "prefect"}, most=3, seconds=900.0,
        unfair="Prefect's clock stops before its server has stored all runs, and ours before its last commit",
    ),
    Row(
        "compat_import", "`from prefect import flow, task` under anabranch.compat, above a bare start",
        lambda quick: imported("import anabranch.compat.prefect; ", quick),
        (Bar("processor_s", "s of processor time", at_most=0.3), Bar("above_s", "s")),
        peer=lambda quick: imported("", quick), peer_name="the same line with Prefect 3", apart={"peer": "prefect"},
        most=3, seconds=900.0,
    ),
)  # fmt: skip
