"""Start: what importing costs, and a script with one flow of one task, above a bare Python."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.rows import Bar, Figures, Row

ONE_TASK = """
from anabranch import flow, task

@task
def t(x):
    return x + 1

@flow
def f():
    return t.submit(1).result()

assert f() == 2
"""
POOL = """
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        assert pool.submit(abs, -2).result() == 2
"""
LISTED = "import anabranch, sys; print(*sorted({'asyncio', 'sqlite3', 'pydantic'} & sys.modules.keys()))"


def seconds_of(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def above_bare(code: str, quick: bool) -> Figures:
    seconds_of(code)  # byte code and file cache
    bare, found = [], []
    for _ in range(3 if quick else 7):
        bare.append(seconds_of("pass"))
        found.append(seconds_of(code))
    return {"above_s": statistics.median(found) - statistics.median(bare), "bare_s": statistics.median(bare)}


def import_ours(quick: bool) -> Figures:
    loaded = subprocess.run([sys.executable, "-c", LISTED], check=True, capture_output=True, text=True).stdout.split()
    return {**above_bare("import anabranch", quick), "heavy_modules": float(len(loaded))}


def one_task_ours(quick: bool) -> Figures:
    with tempfile.TemporaryDirectory() as home:
        os.environ["ANABRANCH_HOME"] = home
        return above_bare(ONE_TASK, quick)


ROWS = (
    Row(
        "import",
        "`import anabranch`, above a bare start",
        import_ours,
        (Bar("above_s", "s", at_most=0.25), Bar("heavy_modules", "of asyncio, sqlite3, pydantic", at_most=0)),
        peer=lambda quick: above_bare("import concurrent.futures.process", quick),
        peer_name="import concurrent.futures.process",
    ),
    Row(
        "one_task",
        "script with a one-task flow, above a bare start",
        one_task_ours,
        (Bar("above_s", "s", at_most=0.8),),
        peer=lambda quick: above_bare(POOL, quick),
        peer_name="the same with ProcessPoolExecutor",
        unfair="the peer keeps no record",
    ),
)
