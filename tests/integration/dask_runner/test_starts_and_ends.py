"""The Dask runner's starts that fail, ends that come from outside, and what is left after each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from anabranch.core.errors import MissingExtraError
from anabranch.core.events import EngineLost
from anabranch.runners.dask import worker
from anabranch.runners.dask.runner import DaskRunner
from tests.integration.dask_runner.driving import Driver

pytestmark = pytest.mark.dask


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anabranch\[dask\]'"):
        DaskRunner(n_workers=1).start(lambda events: None)


def test_bad_arguments_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="one of"):
        DaskRunner("tcp://a", address="tcp://b")
    with pytest.raises(ValueError, match="must be greater than 0"):
        DaskRunner(n_workers=0)


@pytest.mark.sampled(7, "each has a cluster of its own")
def test_the_end_of_the_cluster_is_told(tmp_path: Path) -> None:
    driver = Driver(DaskRunner(n_workers=1))
    stage = driver.task(lambda x: time.sleep(60))
    driver.runner.submit([driver.chunk(stage, [1])])
    cluster = driver.runner._link.own
    assert cluster is not None
    os.killpg(cluster._process.pid, signal.SIGKILL)
    driver.until(lambda: any(isinstance(event, EngineLost) for event in driver.events))
    driver.runner.close()
    assert driver.ends == {}


SCRIPT = """
import json, os, sys
from anabranch.runners.dask import DaskRunner
runner = DaskRunner(n_workers=1)
runner.start(lambda events: None)
pids = list(runner._link.client.run(os.getpid).values())
print(json.dumps([runner._link.own._process.pid, *pids]), flush=True)
if sys.argv[1] == "close":
    runner.close()
elif sys.argv[1] == "die":
    os._exit(9)
"""


@pytest.mark.sampled(7, "each has a cluster of its own")
@pytest.mark.parametrize("end", ["close", "die", "leave"])
def test_nothing_is_left_running_and_nothing_is_said(end: str) -> None:
    root = str(Path(worker.__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, end],
        capture_output=True, text=True, timeout=50, env={**os.environ, "PYTHONPATH": root}, check=False,
    )  # fmt: skip
    assert found.returncode == (9 if end == "die" else 0), found.stderr
    assert found.stderr == ""
    pids = json.loads(found.stdout)
    stop = time.monotonic() + 20
    pause = threading.Event()
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < stop, f"still there: {[pid for pid in pids if alive(pid)]}"
        pause.wait(0.05)


CLOSED_FIRST = """
import sys, time
import distributed
from anabranch import DaskRunner, flow, task
inc = task(lambda x: x + 1)
with distributed.LocalCluster(
    n_workers=1, threads_per_worker=1, processes=sys.argv[1] == "processes", dashboard_address=":0"
) as cluster:
    assert sum(flow(lambda: inc.map(range(10)).result(), name='ten', runner=DaskRunner(cluster=cluster))()) == 55
print(time.time(), flush=True)
"""


@pytest.mark.sampled(7, "each has a cluster of its own")
@pytest.mark.parametrize("workers", ["processes", "threads"])
def test_a_cluster_that_its_owner_has_closed_is_not_waited_for_at_the_end(workers: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"if __name__ == '__main__':{textwrap.indent(CLOSED_FIRST, '    ')}")
    root = str(Path(worker.__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "ANABRANCH_HOME": str(tmp_path), "ANABRANCH_LOG_LEVEL": "WARNING"}
    found = subprocess.run(
        [sys.executable, str(script), workers], capture_output=True, text=True, timeout=50, env=env, check=False
    )
    assert found.returncode == 0, found.stderr
    assert time.time() - float(found.stdout) < 25  # a client tries to connect again for 30 s
    assert "Traceback" not in found.stderr
    assert "reconnect" not in found.stderr


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
