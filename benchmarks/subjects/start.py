"""Cold start: what importing costs, and a script with one flow of one task on each runner, above a bare Python."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.rows import Bar, Figures, Row

ONE_TASK = """
from anabranch import {runner}, flow, task

@task
def t(x):
    return x + 1

@flow(runner={runner}({options}))
def f():
    return t.submit(1).result()

if __name__ == "__main__":
    assert f() == 2
"""
RUNNERS = {  # by the row's ending: the class, and what makes two workers of it
    "threads": ("ThreadRunner", "max_workers=2"),
    "processes": ("ProcessRunner", "max_workers=2"),
    "dask": ("DaskRunner", "n_workers=2, threads_per_worker=1"),
    "ray": ("RayRunner", "num_cpus=2"),
}
POOL = """
from concurrent.futures import {pool}
if __name__ == "__main__":
    with {pool}(2) as pool:
        assert pool.submit(abs, -2).result() == 2
"""
PEERS = {
    "threads": POOL.format(pool="ThreadPoolExecutor"),
    "processes": POOL.format(pool="ProcessPoolExecutor"),
    "dask": """
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        assert client.submit(abs, -2).result() == 2
""",
    "ray": """
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
assert ray.get(ray.remote(lambda x: -x).remote(-2)) == 2
ray.shutdown()
""",
}
PEER_NAMES = {
    "threads": "the same with ThreadPoolExecutor",
    "processes": "the same with ProcessPoolExecutor",
    "dask": "the same with a LocalCluster and its client",
    "ray": "the same with ray.init and one remote function",
}
LISTED = "import anabranch, sys; print(*sorted({'asyncio', 'sqlite3', 'pydantic'} & sys.modules.keys()))"


def seconds_of(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def above_bare(code: str, rounds: int) -> Figures:
    seconds_of(code)  # byte code and file cache
    bare, found = [], []
    for _ in range(rounds):
        bare.append(seconds_of("pass"))
        found.append(seconds_of(code))
    return {"above_s": statistics.median(found) - statistics.median(bare), "bare_s": statistics.median(bare)}


def import_ours(quick: bool) -> Figures:
    loaded = subprocess.run([sys.executable, "-c", LISTED], check=True, capture_output=True, text=True).stdout.split()
    return {**above_bare("import anabranch", _rounds(quick)), "heavy_modules": float(len(loaded))}


def one_task_ours(kind: str, quick: bool) -> Figures:
    runner, options = RUNNERS[kind]
    with tempfile.TemporaryDirectory() as home:
        os.environ["ANABRANCH_HOME"] = home
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        return above_bare(ONE_TASK.format(runner=runner, options=options), _rounds(quick, kind))


def one_task_peer(kind: str, quick: bool) -> Figures:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return above_bare(PEERS[kind], _rounds(quick, kind))


def _rounds(quick: bool, kind: str = "threads") -> int:
    """Starts that the median is of: an engine of other processes takes seconds for each."""
    if kind in ("dask", "ray"):
        return 1 if quick else 3
    return 3 if quick else 7


def _one_task(kind: str) -> Row:
    return Row(
        f"one_task_{kind}",
        f"script with a one-task flow, {kind}, above a bare start",
        functools.partial(one_task_ours, kind),
        (Bar("above_s", "s", at_most=0.8 if kind == "threads" else None),),
        peer=functools.partial(one_task_peer, kind),
        peer_name=PEER_NAMES[kind],
        most=3,
        unfair="the peer keeps no record",
    )


ROWS = (
    Row(
        "import",
        "`import anabranch`, above a bare start",
        import_ours,
        (Bar("above_s", "s", at_most=0.25), Bar("heavy_modules", "of asyncio, sqlite3, pydantic", at_most=0)),
        peer=lambda quick: above_bare("import concurrent.futures.process", _rounds(quick)),
        peer_name="import concurrent.futures.process",
    ),
    *map(_one_task, RUNNERS),
)
