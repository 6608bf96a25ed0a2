"""Workers that join a lent cluster later, and are not like the driver: nothing is sent to them, nothing is lost."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task
from anabranch.runners.dask import link
from tests.acceptance.gates import SOON, until
from tests.integration.dask_runner.driving import local_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.sampled(7, "each has a cluster of its own")]

LIES = """
from anabranch.runners.dask import worker
def lying(versions):
    return lambda: {**versions(), "Python": "3.99"}
worker.versions = lying(worker.versions)
"""
LACKS = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "anabranch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture
def cluster() -> Iterator[Any]:
    with local_cluster(n_workers=1) as found:
        yield found


@contextlib.contextmanager
def misfit(cluster: Any, folder: Path, kind: str) -> Iterator[None]:
    """Another worker of this cluster, made to be another one than it is."""
    (folder / "preload.py").write_text(kind)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--nthreads", "4"]
    command += ["--no-nanny", "--no-dashboard", "--preload", str(folder / "preload.py")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    try:
        until(lambda: len(cluster.scheduler_info["workers"]) > 1, "the misfit's joining")
        yield
    finally:
        process.kill()
        process.wait(SOON)


@pytest.mark.parametrize("kind", [LIES, LACKS], ids=["another Python", "without anabranch"])
def test_a_worker_that_joins_and_does_not_fit_gets_nothing_to_do(
    cluster: Any, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @task
    def work(x: int) -> tuple[int, str, int]:
        import time

        from distributed import get_worker

        from anabranch.context import task_run

        time.sleep(0.02)
        return x, get_worker().address, task_run().attempt

    @flow(runner=DaskRunner(cluster))
    def main() -> list[tuple[int, str, int]]:
        before = work.map(range(20), chunk=1)
        before[0].wait(SOON)
        with misfit(cluster, tmp_path, kind):
            after = work.map(range(20, 60), chunk=1)
            return [*before.result(SOON), *after.result(SOON)]

    [fits] = cluster.scheduler_info["workers"]
    assert main() == [(x, fits, 1) for x in range(60)]
    if kind is LIES:  # one that cannot load what it is sent ends by itself, perhaps before it is asked
        [told] = [line for line in capsys.readouterr().err.splitlines() if "nothing is sent to it" in line]
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        assert re.search(rf"the Dask worker tcp://\S+ do not fit: Python {ours} here, 3.99 there", told)


def test_where_only_misfits_are_left_the_flow_says_so(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MISFIT_SECONDS", 1.0)

    @task
    def work(x: int) -> int:
        import time

        time.sleep(0.05)
        return x

    @flow(runner=DaskRunner(cluster))
    def main() -> Any:
        futures = work.map(range(10_000), chunk=1)
        futures[0].wait(SOON)
        with misfit(cluster, tmp_path, LIES):
            cluster.scale(0)
            return futures.wait(SOON)

    state = main(return_state=True)
    assert state.is_failed()
    text = str(state.result(raise_on_failure=False))
    assert "no worker of the Dask cluster fits: the driver and the Dask worker" in text
