"""Persisted maps: few files, written by workers before an item is Completed, read back item by item."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, ThreadRunner, flow, task
from anabranch.core.errors import ResultReleased, SerializationError, StoreError, UpstreamError
from anabranch.results.blocks import Blocks
from anabranch.results.local_files import LocalFiles
from anabranch.runners.dask.runner import DaskRunner
from anabranch.runners.ray.runner import RayRunner
from anabranch.worker import chunk_run, in_turn, reports

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "each runs maps whose values go to a store")
WAIT = 60.0
TURNS = pytest.mark.sampled(5, "an engine of its own")


RUNNERS = [
    pytest.param(lambda: ThreadRunner(max_workers=2), id="thread"),
    pytest.param(lambda: ProcessRunner(max_workers=2), id="process"),
    pytest.param(lambda: DaskRunner(n_workers=2), id="dask", marks=[pytest.mark.dask, pytest.mark.timeout(180), TURNS]),
    pytest.param(lambda: RayRunner(num_cpus=2), id="ray", marks=[pytest.mark.ray, pytest.mark.timeout(180), TURNS]),
]


def blocks_in(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "results" / "blocks").rglob("*.block"))


def value_at(session: Any, map: Any, index: int) -> Any:
    """The stored value of an item."""
    name, slot = map.values.stored.find(index)
    (stored,) = session.store.blocks.read(name, [slot])
    return stored.value


@pytest.mark.parametrize("runner", RUNNERS)
def test_few_files_have_the_values_of_many_items(storing: Any, tmp_path: Path, runner: Any) -> None:
    made = storing(str(tmp_path / "results"))

    @task(persist_result=True)
    def work(x: int) -> tuple[int, str]:
        return x, "x" * 10

    @flow(runner=runner())
    def main() -> Any:
        futures = work.map(range(5_000))
        values = futures.result(WAIT)
        map = futures._map
        found = [value_at(made, map, index) for index in range(0, 5_000, 7)]
        return values, found

    values, found = main()
    assert values == [(x, "x" * 10) for x in range(5_000)]
    assert found == values[::7]
    assert 1 <= len(blocks_in(tmp_path)) < 250
    items = [
        item for path in blocks_in(tmp_path) for item in made.store.blocks.items(path.relative_to(tmp_path / "results"))
    ]
    assert sorted(items) == list(range(5_000))


@pytest.mark.s3
def test_blocks_at_an_address(storing: Any, s3_address: str) -> None:
    made = storing(s3_address)

    @task(persist_result=True)
    def work(x: int) -> tuple[int, int]:
        return x, os.getpid()

    @flow(runner=ProcessRunner(max_workers=2))
    def main() -> Any:
        return work.map(range(300), keep="none").result(WAIT)

    values = main()
    assert [x for x, _ in values] == list(range(300))
    assert os.getpid() not in {pid for _, pid in values}
    fs, root = made.store.files._open()
    assert len([path for path in fs.find(f"{root}/blocks") if path.endswith(".block")]) < 60


@pytest.mark.parametrize("runner", RUNNERS[:2])
def test_values_that_nobody_holds_are_read_from_the_store(
    storing: Any, runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing(str(tmp_path / "results"))
    asked: list[str] = []
    get = LocalFiles.get

    def noted(files: LocalFiles, name: str, start: int, end: int) -> bytes | None:
        asked.append(name)
        return get(files, name, start, end)

    monkeypatch.setattr(LocalFiles, "get", noted)

    @task(persist_result=True)
    def work(x: int) -> int:
        return x * x

    @task
    def forgetful(x: int) -> int:
        return x

    @flow(runner=runner())
    def main() -> Any:
        kept = work.map(range(100), keep="none")
        values = kept.result(WAIT)
        assert len(asked) == len(set(asked))  # a small block is read once, not once an item
        with pytest.raises(ResultReleased):
            forgetful.map(range(3), keep="none").result(WAIT)
        return values, kept[7].result()

    assert main() == ([x * x for x in range(100)], 49)


def test_a_worker_that_dies_between_two_blocks(storing: Any, tmp_path: Path) -> None:
    """What it had stored and not told is stored again; each item has the value that was accepted."""
    made = storing(str(tmp_path / "results"))
    died = tmp_path / "died"

    @task(persist_result=True)
    def work(x: int) -> tuple[int, int]:
        if x == 60 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.005)  # several reports a chunk
        return x, os.getpid()

    @flow(runner=ProcessRunner(max_workers=1))
    def main() -> Any:
        futures = work.map(range(120), chunk=120)
        values = futures.result(WAIT)
        return values, [value_at(made, futures._map, index) for index in range(120)]

    values, found = main()
    assert [x for x, _ in values] == list(range(120))
    assert len({pid for _, pid in values}) == 2
    assert found == values


def test_a_value_that_cannot_be_stored_fails_alone(storing: Any, tmp_path: Path) -> None:
    storing(str(tmp_path / "results"))

    @task(persist_result=True)
    def work(x: int) -> Any:
        return threading.Lock() if x == 3 else x

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        futures = work.map(range(6), chunk=6)
        return [state.message for state in futures.wait()], [f.result(raise_on_failure=False) for f in futures]

    messages, values = main()
    assert messages[3].startswith("its result could not be stored: ")
    assert "_thread.lock" in messages[3]
    assert isinstance(values.pop(3), SerializationError)
    assert values == [0, 1, 2, 4, 5]


class Moody:
    """Cannot be pickled as long as its item has run once only."""

    def __init__(self, x: int, runs: list[int]) -> None:
        self.x, self.runs = x, runs

    def __reduce__(self) -> Any:
        if self.runs.count(self.x) == 1:
            raise ValueError("not now")
        return str, (self.x,)


def test_an_attempt_whose_value_cannot_be_stored_is_retried(storing: Any, tmp_path: Path) -> None:
    made = storing(str(tmp_path / "results"))
    runs: list[int] = []

    @task(persist_result=True, retries=1)
    def work(x: int) -> Any:
        runs.append(x)
        return Moody(x, runs) if x == 1 else x

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        futures = work.map(range(4), chunk=4)
        assert len(futures.result(WAIT)) == 4
        return [value_at(made, futures._map, index) for index in range(4)]

    assert main() == [0, "1", 2, 3]
    assert sorted(runs) == [0, 1, 1, 2, 3]


def test_a_store_that_cannot_be_written_fails_every_item(storing: Any, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("no folder")
    storing(str(tmp_path / "results"))

    @task(persist_result=True)
    def work(x: int) -> int:
        return x

    @task
    def after(x: int) -> int:
        return x

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        first = work.map(range(3))
        second = after.map(first)
        second.wait()
        return [f.result(raise_on_failure=False) for f in (*first, *second)]

    found = main()
    assert [type(error) for error in found] == [StoreError] * 3 + [UpstreamError] * 3
    assert f"cannot write {tmp_path}/results/blocks/" in str(found[0])


def test_hooks_hear_of_a_run_whose_value_is_stored(storing: Any, tmp_path: Path) -> None:
    """Then each value has a file of its own, for a hook may look at it."""
    storing(str(tmp_path / "results"))
    seen: list[int] = []

    def hook(*_: Any) -> None:
        seen.append(len(list((tmp_path / "results").rglob("*.value"))))

    @task(persist_result=True, on_completion=[hook])
    def work(x: int) -> int:
        return x

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        return work.map(range(3)).result(WAIT)

    assert main() == [0, 1, 2]
    assert seen == [1, 2, 3]
    assert blocks_in(tmp_path) == []


@pytest.mark.parametrize(("takes_ms", "sizes"), [(0, [5] * 12), (30, [5, *[15] * 3, 10]), (200, [5, 55])])
def test_a_slow_store_is_written_to_less_often(
    storing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes_ms: int, sizes: list[int]
) -> None:
    """Every 0.1 s of items, and it takes a tenth of the time at most, whatever one write takes."""
    storing(str(tmp_path / "results"))
    write, written, elapsed = Blocks.write, list[int](), [0]

    def slow(blocks: Blocks, place: str, items: Any, values: Any, without: Any = ()) -> Any:
        written.append(len(values))
        elapsed[0] += takes_ms
        return write(blocks, place, items, values, without)

    def ns() -> int:
        return elapsed[0] * 1_000_000

    monkeypatch.setattr(Blocks, "write", slow)
    for module in (chunk_run, in_turn, reports):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=time.time, sleep=time.sleep, perf_counter_ns=ns))

    @task(persist_result=True)
    def work(x: int) -> int:
        elapsed[0] += 20
        return x

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        return work.map(range(60), chunk=60).result(WAIT)

    assert main() == list(range(60))
    assert written == sizes
