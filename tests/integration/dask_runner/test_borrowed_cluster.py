"""The Dask runner on a cluster of the user's: it is left as it was, and their modules travel."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import VersionMismatch
from anabranch.core.events import ChunkLost, ChunkStarted
from anabranch.runners.dask import worker
from anabranch.runners.dask.runner import DaskRunner
from tests.integration.dask_runner.driving import Driver, blob, kill_once

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.sampled(5, "a cluster of the file's own", whole=True)]


@pytest.mark.parametrize("way", ["client", "cluster", "address"])
def test_what_is_borrowed_is_left_alone(lent: Any, way: str) -> None:
    given: dict[str, Any] = {
        "client": lent, "cluster": lent.cluster, "address": lent.cluster.scheduler_address,
    }  # fmt: skip
    theirs = lent.submit(lambda: 41, pure=False)
    assert theirs.result() == 41

    def settings(dask_scheduler: Any = None) -> tuple[Any, ...]:
        return dask_scheduler.WORKER_SATURATION, dask_scheduler.allowed_failures, set(dask_scheduler.plugins)

    before = lent.run_on_scheduler(settings)
    driver = Driver(DaskRunner(**{way: given[way]}))
    stage = driver.task(blob)
    chunk = driver.chunk(stage, [1])
    driver.run([chunk])
    assert driver.values(chunk) == [blob(1)]
    assert lent.run_on_scheduler(settings) == before
    driver.runner.close()
    driver.runner.close()
    assert theirs.result() == 41
    assert lent.status == "running"
    assert len(lent.nthreads()) == 2

    def left(dask_scheduler: Any = None) -> list[Any]:
        topics = [topic for topic in dask_scheduler._broker._topics if topic.startswith("anabranch-")]
        return [*topics, *(key for key in dask_scheduler.tasks if str(key).startswith("ab-"))]

    driver.until_true(lambda: not lent.run_on_scheduler(left))


def test_a_killed_worker_of_a_borrowed_cluster(lent: Any, tmp_path: Path) -> None:
    """There Dask itself runs the key again, and is stopped; what was accepted stays accepted."""
    driver = Driver(DaskRunner(client=lent))
    try:
        slow = kill_once(str(tmp_path / "died"), 12)

        def task(x: int) -> int:
            time.sleep(0.02)
            return slow(x)

        assert driver.to_the_end(driver.task(task), range(20)) == [2 * x for x in range(20)]
        big = kill_once(str(tmp_path / "died-2"), 2)
        assert driver.to_the_end(driver.task(lambda x: (big(x), blob(x))), range(3)) == [
            (2 * x, blob(x)) for x in range(3)
        ]
    finally:
        driver.runner.close()


def test_what_dask_runs_again_is_an_attempt_of_its_own(lent: Any, tmp_path: Path) -> None:
    """Nothing of the chunk was accepted when its worker died: it is lost all the same, for us to number and count."""
    go = tmp_path / "go"

    def task(x: int) -> int:
        while not go.exists():
            time.sleep(0.01)
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    driver = Driver(DaskRunner(client=lent))
    try:
        chunk = driver.chunk(driver.task(task), range(3))
        driver.runner.submit([chunk])
        driver.until_true(lambda: driver.seen(ChunkStarted))
        go.touch()
        driver.until(lambda: chunk.id in driver.ends)
        lost = driver.ends[chunk.id]
        assert isinstance(lost, ChunkLost)
        assert (lost.reason, driver.reports.get(chunk.id, [])) == ("worker-lost", [])
    finally:
        driver.runner.close()


def test_the_users_modules_travel(lent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's module, and one that it uses, that no worker can import; and a class from there comes back."""
    (tmp_path / "ab_helper.py").write_text("class Point:\n    def __init__(self, x):\n        self.x = x\n")
    (tmp_path / "ab_tasks.py").write_text(
        "import ab_helper\nfrom ab_helper import Point\n"
        "def move(p):\n    return Point(p.x + 1)\n"
        "def make(x):\n    return ab_helper.Point(x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    tasks, helper = importlib.import_module("ab_tasks"), importlib.import_module("ab_helper")
    driver = Driver(DaskRunner(client=lent))
    try:
        chunk = driver.chunk(driver.task(tasks.move), [helper.Point(1), helper.Point(2)])
        other = driver.chunk(driver.task(tasks.make), [7])
        driver.run([chunk, other])
        found = driver.values(chunk) + driver.values(other)
        assert [type(point) for point in found] == [helper.Point] * 3
        assert [point.x for point in found] == [2, 3, 7]
    finally:
        driver.runner.close()
        del sys.modules["ab_tasks"], sys.modules["ab_helper"]


def test_the_users_modules_travel_whole(lent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they hold cannot be pickled, and no worker can import them: made there of their source, once a version."""
    (tmp_path / "ab_kept").mkdir()
    (tmp_path / "ab_kept" / "__init__.py").write_text("FACTOR = 2\n")
    (tmp_path / "ab_kept" / "points.py").write_text("class Point:\n    def __init__(self, x):\n        self.x = x\n")
    source = (
        "import threading\nfrom . import FACTOR\nfrom .points import Point\nLOCK = threading.Lock()\n"
        "def move(p):\n    with LOCK:\n        return Point(p.x * FACTOR + {}) if type(p) is Point else None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        for more in (1, 10):
            (tmp_path / "ab_kept" / "work.py").write_text(source.format(more))
            work, points = importlib.import_module("ab_kept.work"), importlib.import_module("ab_kept.points")
            monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
            driver = Driver(DaskRunner(client=lent))
            try:
                chunk = driver.chunk(driver.task(work.move), [points.Point(1), points.Point(2)])
                driver.run([chunk])
                assert [point.x for point in driver.values(chunk)] == [2 + more, 4 + more]
                assert [type(point) for point in driver.values(chunk)] == [points.Point] * 2
            finally:
                driver.runner.close()
                monkeypatch.syspath_prepend(str(tmp_path))
                del sys.modules["ab_kept.work"]
    finally:
        for name in [name for name in sys.modules if name.startswith("ab_kept")]:
            del sys.modules[name]


def test_other_versions_are_refused(lent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {**worker.versions(), "Python": "3.99"}
    worker.compare(ours, ours, "w")
    real = worker.compare
    monkeypatch.setattr(worker, "compare", lambda mine, theirs, name: real(ours, theirs, name))
    here = f"Python 3.99 here, {sys.version_info[0]}.{sys.version_info[1]} there"
    with pytest.raises(VersionMismatch, match=here):
        DaskRunner(client=lent).start(lambda events: None)
    assert lent.status == "running"
