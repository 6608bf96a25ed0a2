"""Threads that compute in workers: counted by the ticks that each has spent, and not by how long it took."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch import DaskRunner, ProcessRunner, RayRunner, session, settings, task
from anabranch.core.machine import usable_cpus
from anabranch.core.native_threads import COUNTED, VARIABLES
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled(4, "workers load numpy, or an engine starts")
ENOUGH = 0.6  # seconds of processor time in one worker
TICKS = 5  # of a thread that has computed: a tick is 10 ms


@pytest.fixture(autouse=True)
def own_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*VARIABLES, COUNTED):
        monkeypatch.delenv(name, raising=False)
    chosen = settings.load({}, home=tmp_path / "home", progress=False)
    own = session.Session(chosen, records=MemoryRecords())
    before = session.use(own)
    yield
    session.use(before)
    own.close()


def spent() -> dict[str, int]:
    """The ticks that each thread of this process has spent."""
    found = {}
    for file in Path("/proc/self/task").glob("*/stat"):
        fields = file.read_text().rpartition(")")[2].split()
        found[file.parent.name] = int(fields[11]) + int(fields[12])
    return found


@task
def busy_threads(_: int) -> int:
    """How many threads compute when NumPy multiplies matrices here."""
    import numpy as np

    a = np.random.default_rng(1).random((700, 700))
    a @ a
    before, until = spent(), time.process_time() + ENOUGH
    while time.process_time() < until:
        a @ a
    return sum(ticks - before.get(name, 0) >= TICKS for name, ticks in spent().items())


@task
def nested(n: int) -> tuple[int, int]:
    """The jobs that joblib takes `n_jobs=-1` for here, and the threads and processes that they ran in."""
    import threading

    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=-1)
    seen = parallel(delayed(lambda _: (os.getpid(), threading.get_ident()))(x) for x in range(n))
    return parallel._effective_n_jobs(), len(set(seen))


def test_workers_compute_on_their_share() -> None:
    with ProcessRunner(2):
        assert busy_threads.map([1, 2], chunk=1).result(60) == [max(1, usable_cpus() // 2)] * 2


@pytest.mark.skipif(usable_cpus() < 2, reason="threads of one processor cannot be told apart")
def test_a_worker_may_be_given_more() -> None:
    with ProcessRunner(1, native_threads=2):
        assert busy_threads.submit(1).result(60) == 2
    with ProcessRunner(1, native_threads=1):
        assert busy_threads.submit(1).result(60) == 1
    with pytest.raises(ValueError, match="native_threads must be greater than 0, got 0"):
        ProcessRunner(native_threads=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_inside_a_task_do_not_multiply(workers: int) -> None:
    share = max(1, usable_cpus() // workers)
    with ProcessRunner(workers):
        jobs, places = nested.submit(20).result(60)
    assert jobs == share
    assert places <= share


@pytest.mark.dask
def test_jobs_inside_a_task_on_dask_do_not_multiply() -> None:
    share = max(1, usable_cpus() // 2)
    with DaskRunner(n_workers=2, threads_per_worker=1):
        assert nested.submit(20).result(60)[0] == share


@pytest.mark.ray
def test_jobs_inside_a_task_on_ray_do_not_multiply() -> None:
    with RayRunner(num_cpus=2):
        assert nested.submit(20).result(60)[0] == 1
