"""Values over the budget go to disk and come back: maps that keep more than fits, on each runner of this machine."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, session, task
from anabranch.runners.inline.runner import InlineRunner
from anabranch.runners.process.runner import ProcessRunner
from anabranch.runners.thread.runner import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
RUNNERS: dict[str, Callable[[], Any]] = {
    "inline": InlineRunner,
    "thread": lambda: ThreadRunner(max_workers=2),
    "process": lambda: ProcessRunner(max_workers=2),
}


@task
def block(n: int) -> bytes:
    return bytes([n % 256]) * MIB


@task
def first(data: bytes) -> int:
    return data[0]


@task
def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture(params=list(RUNNERS))
def runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    with RUNNERS[request.param]() as made:
        yield made


@pytest.fixture
def memory() -> Any:
    """The program's account of memory, with 8 MiB to keep values in."""
    memory = session.current().pump.dispatcher.tables.ledger.memory
    memory.budget = 8 * MIB
    return memory


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def settled(memory: Any) -> bool:
    return not memory.leaving and memory.taken <= memory.budget


def test_a_map_keeps_more_than_fits(runner: Any, memory: Any) -> None:
    @flow(runner=runner)
    def run() -> tuple[Any, ...]:
        made = block.map(range(40))
        made.wait()
        until(lambda: settled(memory))
        spilled, held = made.bytes_spilled, made.bytes_held
        whole = [value[0] for value in made.result()]
        backwards = [made[n].result()[0] for n in reversed(range(40))]
        heads = first.map(made).result()
        return spilled, held, whole, backwards, heads

    spilled, held, whole, backwards, heads = run()
    assert spilled >= 31 * MIB
    assert held >= 40 * MIB
    assert whole == backwards[::-1] == heads == list(range(40))


def test_streams_reduce_and_single_futures_read_what_was_spilled(runner: Any, memory: Any) -> None:
    @flow(runner=runner)
    def run() -> tuple[Any, ...]:
        made = block.map(range(30))
        made.wait()
        until(lambda: settled(memory))
        one = first.submit(made[29]).result()
        total = first.map(made).reduce(add.fn).result()
        streamed = [value[0] for value in made.results()]
        return one, total, streamed

    assert run() == (29, sum(range(30)), list(range(30)))


def test_what_is_let_go_leaves_disk_and_memory(runner: Any, memory: Any) -> None:
    @flow(runner=runner)
    def run() -> tuple[int, ...]:
        made = block.map(range(30))
        made.wait()
        until(lambda: settled(memory))
        kept = made[3]
        before = made.bytes_released
        map = made._map
        del made
        until(lambda: map.footprint.held < 2 * MIB)
        value = kept.result()[0]
        del kept
        until(lambda: map.footprint.held == 0 and memory.taken == 0)  # a block under way to disk is let go of there
        return before, value, map.footprint.released // MIB

    before, value, released = run()
    assert (before, value) == (0, 3)
    assert released >= 30


@pytest.mark.parametrize("runner", ["thread", "process"], indirect=True)
def test_values_that_nobody_keeps_are_never_spilled(runner: Any, memory: Any) -> None:
    """Not on inline: it has run the whole map before anybody can read it."""

    @flow(runner=runner)
    def run() -> int:
        memory.budget = 100 * MIB  # more than a window, less than all
        made = block.map(range(200))
        total = sum(value[0] for value in made.results())
        assert made.bytes_spilled == 0
        return total

    assert run() == sum(range(200))


def test_what_cannot_be_pickled_stays_and_is_told_once(memory: Any, caplog: pytest.LogCaptureFixture) -> None:
    @task
    def odd(n: int) -> Any:
        return bytes(MIB), threading.Lock()

    @flow(runner=ThreadRunner(max_workers=2))
    def run() -> tuple[int, int]:
        made = odd.map(range(12))
        made.wait()
        until(lambda: not memory.leaving)
        return len(made.result()), made.bytes_spilled

    memory.budget = 2 * MIB
    with caplog.at_level("WARNING"):
        found = run()
        until(lambda: "stay in memory" in caplog.text)
    assert found[0] == 12
    told = [record.message for record in caplog.records if "stay in memory" in record.message]
    assert len(told) == 1
    assert "'odd'" in told[0]
    assert "lock" in told[0]


def test_a_disk_without_room_costs_nothing_but_memory(
    runner: Any, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary folder cannot be written to: values stay, the map goes on."""
    nowhere = tmp_path / "file"
    nowhere.write_text("")

    @flow(runner=runner)
    def run() -> list[int]:
        block.submit(1).result()  # the runner is up
        store = getattr(getattr(runner, "_in_flight", None), "store", None)
        if store is not None:
            store.folders = (store.folders[0], str(nowhere / "values"))
        monkeypatch.setattr("tempfile.tempdir", str(nowhere))
        made = block.map(range(20))
        made.wait()
        until(lambda: not memory.leaving)
        assert made.bytes_spilled == 0
        return [value[0] for value in made.result()]

    assert run() == list(range(20))


def test_a_nearly_dead_block_gives_its_memory_back(memory: Any) -> None:
    """One value in twenty-five is kept: what lives is copied out, and the block goes."""

    @task
    def some(n: int) -> bytes:
        return bytes([n]) * 100_000

    @flow(runner=ProcessRunner(max_workers=1))
    def run() -> tuple[int, list[int]]:
        memory.budget = math.inf
        made = some.map(range(50), chunk=25)
        made.wait()
        kept = [made[7], made[30]]
        map = made._map
        assert map.footprint.held > 4_000_000
        del made
        until(lambda: map.footprint.held < 300_000)
        return map.footprint.held, [future.result()[0] for future in kept]

    held, values = run()
    assert held >= 200_000
    assert values == [7, 30]
