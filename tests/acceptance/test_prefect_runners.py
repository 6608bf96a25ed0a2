"""Prefect's four task runners: one program, run with each of them, prints the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.sessions import over

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = {
    "thread": "from prefect.task_runners import ThreadPoolTaskRunner\nrunner = ThreadPoolTaskRunner(max_workers=4)",
    "process": "from prefect.task_runners import ProcessPoolTaskRunner\nrunner = ProcessPoolTaskRunner(max_workers=2)",
    "dask": "from prefect_dask.task_runners import DaskTaskRunner\n"
    "runner = DaskTaskRunner(cluster_kwargs={'n_workers': 1, 'threads_per_worker': 2, 'dashboard_address': ':0'})",
    "ray": "from prefect_ray.task_runners import RayTaskRunner\nrunner = RayTaskRunner(init_kwargs={'num_cpus': 2})",
}
PROGRAM = """
import asyncio
import os
import time

from prefect import flow, get_run_logger, tags, task, unmapped
from prefect.futures import as_completed, wait
{runner}

@task
def add(x, y=1):
    return x + y

@task
async def later(x):
    await asyncio.sleep(0)
    return x * 10

@task
def fails(text):
    raise ValueError(text)

@task(retries=2, retry_delay_seconds=0)
def at_last(folder):
    tries = len(os.listdir(folder))
    open(os.path.join(folder, str(tries)), "w").close()
    if tries < 2:
        raise ValueError("not yet")
    return tries

@task(timeout_seconds=0.3)
def slow():
    for _ in range(3000):
        time.sleep(0.01)

@task
def calls(x):
    return add(x) + add.submit(x).result()

@task
def made(folder):
    open(os.path.join(folder, "made"), "w").close()

@task
def seen(folder):
    return os.path.exists(os.path.join(folder, "made"))

@task(task_run_name="named-{{x}}", tags=["own"])
def named(x):
    from prefect.runtime import task_run
    get_run_logger().info("here")
    return task_run.name, sorted(task_run.tags)

def raised(state):
    try:
        state.result()
    except Exception as error:
        return type(error).__name__

@flow(task_runner=runner)
def shapes(folder):
    print("submit", add.submit(1).result(), later.submit(2).result(), add.submit(add.submit(1), y=5).result())
    print("map", add.map([1, 2, 3], y=unmapped(10)).result(), add.map(add.map(range(2)), [5, 6]).result())
    print("wait", len(wait(add.map(range(4))).done), sorted(f.result() for f in as_completed(add.map(range(3)))))
    failed = fails.submit("no good")
    print("failed", failed.wait().type.value, raised(failed.state))
    print("upstream", add.submit(failed).wait().name)
    print("retried", at_last.submit(os.path.join(folder, "tries")).result())
    timed = slow.submit()
    print("timed out", timed.wait().name, raised(timed.state))
    print("nested", calls.submit(1).result())
    print("ordered", seen.submit(folder, wait_for=[made.submit(folder)]).result())
    with tags("around"):
        print("named", named.submit(3).result())
    print("states", [state.type.value for state in add.map([1, None], return_state=True)])
    return add.submit(41)

if __name__ == "__main__":
    import sys
    os.mkdir(os.path.join(sys.argv[1], "tries"))
    state = shapes(sys.argv[1], return_state=True)
    print(state.type.value, state.result().result())
"""
PRINTED = """\
submit 2 20 7
map [11, 12, 13] [6, 8]
wait 4 [1, 2, 3]
failed FAILED ValueError
upstream NotReady
retried 2
timed out TimedOut TaskTimeoutError
nested 4
ordered True
named ('named-3', ['around', 'own'])
states ['COMPLETED', 'FAILED']
COMPLETED 42
"""


@pytest.mark.timeout(170)
@pytest.mark.parametrize("kind", over(*RUNNERS))
def test_a_program_prints_the_same_with_every_runner(kind: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PROGRAM.replace("{{x}}", "{x}").replace("{runner}", RUNNERS[kind]))
    (tmp_path / "work").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANABRANCH", "PREFECT"))}
    done = subprocess.run(
        [sys.executable, "-m", "anabranch.compat", "prefect", "script.py", str(tmp_path / "work")],
        env={**kept, "PYTHONPATH": str(ROOT), "ANABRANCH_HOME": str(tmp_path / "home")}, cwd=tmp_path,
        capture_output=True, text=True, timeout=160,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == PRINTED, done.stderr
