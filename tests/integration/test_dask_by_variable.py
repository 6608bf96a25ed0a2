"""`runner="dask"` runs on the scheduler that DASK_SCHEDULER_ADDRESS names, as any client of Dask does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch import DaskRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch.session import Session

pytestmark = pytest.mark.dask


@pytest.fixture
def address() -> Iterator[str]:
    import distributed

    with distributed.LocalCluster(n_workers=1, processes=True, dashboard_address=":0", silence_logs=50) as cluster:
        yield cluster.scheduler_address


@pytest.mark.sampled(3, "a cluster for each")
def test_it_is_borrowed_and_left_as_it_is(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, storing: Callable[[str], Session]
) -> None:
    import distributed

    from anabranch import flow, task

    @task
    def square(x: int) -> int:
        return x * x

    storing(str(tmp_path / "results"))
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    runner = DaskRunner()
    assert repr(runner) == f"DaskRunner({address})"
    assert flow(lambda: square.map(range(10)).result(), name="squares", runner=runner)() == [x * x for x in range(10)]
    with distributed.Client(address, set_as_default=False) as client:
        assert len(client.scheduler_info()["workers"]) == 1


@pytest.mark.parametrize(
    "given", [{"n_workers": 1}, {"threads_per_worker": 2}, {"address": "tcp://other:1"}, {"cluster": object()}]
)
def test_whatever_is_given_comes_first(given: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://nowhere:1")
    assert "nowhere" not in repr(DaskRunner(**given))  # type: ignore[arg-type]


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "")
    assert "n_workers" in repr(DaskRunner())
