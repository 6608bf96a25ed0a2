"""Arrays that Dask's workers persist at an S3 address, as blocks that they write themselves."""

from __future__ import annotations

import os
from typing import Any

import pytest

from anabranch import flow, task, wait
from anabranch.results.remote_files import RemoteFiles
from anabranch.runners.dask.runner import DaskRunner

pytestmark = pytest.mark.sampled(4, "a cluster of its own")
WAIT = 60.0


@pytest.mark.s3
@pytest.mark.dask
@pytest.mark.timeout(180)
def test_persisted_arrays_are_written_by_the_workers(
    storing: Any, s3_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    np = pytest.importorskip("numpy")
    made = storing(s3_address)
    by_driver: list[str] = []
    put = RemoteFiles.put

    def noted(files: RemoteFiles, name: str, parts: Any) -> None:
        by_driver.append(name)
        put(files, name, parts)

    monkeypatch.setattr(RemoteFiles, "put", noted)

    @task(persist_result=True)
    def work(x: int) -> tuple[int, Any]:
        return os.getpid(), np.full(40_000, x, dtype="f8")

    @task(persist_result=True)
    def onward(before: tuple[int, Any]) -> float:
        return float(before[1].sum())

    @flow(runner=DaskRunner(n_workers=2))
    def main() -> Any:
        first = work.map(range(12), chunk=3)
        sums = onward.map(first).result(WAIT)
        wait(first, timeout=WAIT)
        stored = []
        for index in range(12):
            name, slot = first._map.values.stored.find(index)
            stored.append(made.store.blocks.read(name, [slot])[0].value)
        return first.result(WAIT), sums, stored

    values, sums, stored = main()
    assert sums == [40_000.0 * x for x in range(12)]
    assert os.getpid() not in {pid for pid, _ in values}
    for x in range(12):
        expected = np.full(40_000, x, dtype="f8")
        assert (values[x][1] == expected).all()
        assert stored[x][0] == values[x][0]
        assert stored[x][1].dtype == expected.dtype
        assert (stored[x][1] == expected).all()
    assert [name for name in by_driver if name.endswith(".block")] == []
