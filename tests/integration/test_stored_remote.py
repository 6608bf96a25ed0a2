"""Values stored from workers at an S3 address: by the worker that made them, seen by all, computed once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anabranch import ProcessRunner, cache_policies, flow, task
from anabranch.core.errors import ConfigurationError
from anabranch.results.disk import DiskStore
from anabranch.results.remote import RemoteStore
from anabranch.runners.dask.runner import DaskRunner

pytestmark = pytest.mark.sampled(7, "pools, and a store over HTTP")
REPOSITORY = Path(__file__).resolve().parents[2]
WAIT = 60.0


@task(cache_policy=cache_policies.INPUTS)
def squared(x: int, notes: str) -> tuple[int, int]:
    with open(notes, "a", encoding="utf-8") as file:
        file.write(f"{x}\n")
    return x * x, os.getpid()


@pytest.mark.s3
@pytest.mark.parametrize(
    "runner",
    [
        pytest.param(lambda: ProcessRunner(max_workers=2), id="process"),
        pytest.param(lambda: DaskRunner(n_workers=2), id="dask", marks=[pytest.mark.dask, pytest.mark.timeout(180)]),
    ],
)
def test_workers_write_and_read_a_cached_map(
    storing: Any, s3_address: str, runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_driver: list[str] = []
    write = RemoteStore.write

    def noted(store: RemoteStore, key: str, value: Any, **kwargs: Any) -> int:
        by_driver.append(key)
        return write(store, key, value, **kwargs)

    monkeypatch.setattr(RemoteStore, "write", noted)
    storing(s3_address)
    notes = tmp_path / "notes"
    cached = squared.with_options()  # a task's store is that of the session it was first used in

    @flow(runner=runner())
    def main() -> tuple[Any, Any, Any]:
        first = cached.map(range(20), notes=str(notes))
        values = first.result(WAIT)
        second = cached.map(range(20), notes=str(notes), return_state=True)
        return values, [state.name for state in second], second  # States in what it returns stand for their values

    values, names, again = main()
    assert [value for value, _ in values] == [x * x for x in range(20)]
    assert os.getpid() not in {pid for _, pid in values}
    assert set(names) == {"Cached"}
    assert again == values
    assert sorted(map(int, notes.read_text(encoding="utf-8").split())) == list(range(20))
    assert [key for key in by_driver if not key.startswith("probe/")] == []


DRIVER = """
import os, sys, time
from anabranch import cache_policies, flow, session as sessions, settings, task
from anabranch.records.memory import MemoryRecords

results, home, notes, gate = sys.argv[1:]
sessions.use(sessions.Session(settings.load({}, home=home, results=results, progress=False), records=MemoryRecords()))

@task(cache_key_fn=lambda *_: "the one key")
def slow():
    with open(notes, "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("computing", flush=True)
    while not os.path.exists(gate):
        time.sleep(0.02)
    return os.getpid()

@flow
def main():
    future = slow.submit()
    while not future.done():
        if future.state.name == "AwaitingCache":
            print("waiting", flush=True)
            break
        time.sleep(0.01)
    return future.result()

print(main(), flush=True)
"""


@pytest.mark.s3
def test_two_drivers_want_one_key(s3_address: str, tmp_path: Path) -> None:
    """One computes, the other waits for it and takes its value."""
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, s3_address, str(tmp_path / f"home{n}"), str(notes), str(gate)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    try:
        said = [line_of(driver) for driver in drivers]
        assert sorted(said) == ["computing", "waiting"]
        gate.touch()
        (winner,) = notes.read_text(encoding="utf-8").split()
        assert [driver.communicate(timeout=WAIT)[0].strip() for driver in drivers] == [winner, winner]
        assert winner == str(drivers[said.index("computing")].pid)
    finally:
        for driver in drivers:
            driver.kill()
            driver.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("results", "wanted"),
    [
        ("", "DiskStore('{home}/home/results', serializer='pickle')"),
        ("{home}/here", "DiskStore('{home}/here', serializer='pickle')"),
        ("file://{home}/here", "DiskStore('{home}/here', serializer='pickle')"),
        ("memory://here", "RemoteStore('memory://here', serializer='pickle')"),
    ],
)
def test_an_address_selects_the_store(storing: Any, tmp_path: Path, results: str, wanted: str) -> None:
    store = storing(results.format(home=tmp_path)).store
    assert isinstance(store, (DiskStore, RemoteStore))
    assert repr(store) == wanted.format(home=tmp_path)


def test_an_address_of_no_file_system_is_an_error_of_the_first_task_that_stores(storing: Any, tmp_path: Path) -> None:
    storing("nonsense://here")
    cached = squared.with_options()
    with pytest.raises(ConfigurationError, match="nonsense://here"):
        cached.map([1], notes=str(tmp_path / "notes"))
    with pytest.raises(ConfigurationError, match="nonsense://here"):
        cached(1, notes=str(tmp_path / "notes"))


@pytest.mark.s3
def test_a_run_is_resumed_from_what_lies_at_an_address(storing: Any, s3_address: str, tmp_path: Path) -> None:
    session = storing(s3_address)
    notes, mended = tmp_path / "notes", tmp_path / "mended"

    @task
    def work(x: int, notes: str, mended: str) -> int:
        with open(notes, "a", encoding="utf-8") as file:
            file.write(f"{x}\n")
        if x == 33 and not os.path.exists(mended):
            raise ValueError(x)
        return x * x

    @task
    def total(xs: list[int]) -> int:
        return sum(xs)

    @flow(resumable=True, runner=ProcessRunner(max_workers=2))
    def main() -> Any:
        squares = work.map(range(60), notes=str(notes), mended=str(mended))
        return total.submit(squares)

    state = main(return_state=True)
    assert state.is_failed()
    assert len(notes.read_text().split()) == 60
    mended.touch()
    assert main.resume(state.run_id) == sum(x * x for x in range(60))
    assert notes.read_text().split()[60:] == ["33"]
    names = [row.name for map in session.records.maps(state.run_id) for row in session.records.stored(map.id)]
    assert names
    afresh = RemoteStore(s3_address).blocks
    assert not any(afresh.items(name) for name in names)  # not needed any more
