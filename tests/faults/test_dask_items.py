"""Tasks that do what none should, on an own Dask cluster: each costs what it is to blame for, and nothing hangs."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults import awkward, slow_reader
from tests.faults.pipes import pipe, read_pid, squares_met_at
from tests.faults.workers import until, until_values_are_told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.dask,
    pytest.mark.timeout(180),
    pytest.mark.sampled(7, "a cluster of the file's own", whole=True),
]

WAIT = 100.0
MIB = 1 << 20


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskRunner]:
    with DaskRunner(n_workers=2) as runner:
        yield runner


@pytest.fixture(autouse=True, scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, progress=False, log_level="CRITICAL", capacity_timeout=3.0)
    mine = Session(settings, records=MemoryRecords())
    before = sessions.use(mine)
    yield mine
    mine.close()
    sessions.use(before)


def test_a_worker_killed_in_mid_map_repeats_only_what_was_not_told(
    dask: DaskRunner, session: Session, tmp_path: Path
) -> None:
    here, gate, ran = pipe(tmp_path / "here"), pipe(tmp_path / "gate"), str(tmp_path / "ran")
    square = squares_met_at(150, here, gate, str(tmp_path / "first"))

    def work(x: int) -> int:
        with open(ran, "a") as file:
            file.write(f"{x}\n")
        return square(x)

    squares = task(work)
    dispatcher = session.pump.dispatcher
    chunk: set[int] = set()  # the items that item 150 was sent with

    def all_is_told(map: Any) -> bool:
        """Whether the driver knows that the chunk at the gate has begun, and what ended of others; Dask, too."""
        for sent in list(dispatcher.tables.sent.values()):
            if 150 in sent.items[0] and dask._flight.sent[sent.chunk.id].run:
                chunk.update(sent.items[0])
        lines = (tmp_path / "ran").read_text().rpartition("\n")[0].split()
        if not chunk or not all(map.is_terminal(x) or x in chunk for x in {int(line) for line in lines}):
            return False
        there = dask._link.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        return bool(there <= len(dispatcher.tables.sent))

    @flow(runner=dask)
    def main() -> tuple[list[int], list[int]]:
        futures = squares.map(range(300))
        pid = read_pid(here)
        until(lambda: all_is_told(futures._map))
        os.kill(pid, signal.SIGKILL)
        values = futures.result(WAIT)
        return values, [state.attempt for state in futures.states]

    values, attempts = main()
    assert values == [x * x for x in range(300)]
    counts = [0] * 300
    for line in (tmp_path / "ran").read_text().split():
        counts[int(line)] += 1
    assert attempts[150] == 2
    # Of its own chunk nothing could be told from the gate on: what stood before it there runs again.
    assert {x for x in range(300) if counts[x] > 1} <= chunk
    assert sum(counts) <= 300 + len(chunk)


def test_lost_values_that_still_have_a_reader_are_made_again(dask: DaskRunner, tmp_path: Path) -> None:
    ran = str(tmp_path / "ran")

    def made(x: int) -> tuple[int, bytes]:
        with open(ran, "a") as file:
            file.write(f"{x}\n")
        return os.getpid(), bytes([x]) * MIB

    make = task(made)

    @flow(runner=dask)
    def main() -> tuple[list[int], list[int]]:
        futures = make.map(range(16), chunk=1)
        futures.wait(WAIT)
        first, _ = futures[0].result()
        where = [future.result()[0] for future in futures]
        until_values_are_told(dask)
        os.kill(first, signal.SIGKILL)
        until(lambda: any(state.attempt > 1 for state in futures.states))
        values = futures.result(WAIT)
        assert [data[:1] for _, data in values] == [bytes([x]) for x in range(16)]
        attempts = [state.attempt for state in futures.states]
        assert [attempt == 2 for attempt in attempts] == [pid == first for pid in where]
        return attempts, [int(line) for line in (tmp_path / "ran").read_text().split()]

    attempts, lines = main()
    assert [lines.count(x) for x in range(16)] == attempts


def test_sys_exit_ends_its_item_only(dask: DaskRunner) -> None:
    @task
    def work(x: int) -> int:
        if x == 7:
            sys.exit(3)
        return x

    @flow(runner=dask)
    def main() -> list[str]:
        until(lambda: len(dask._link.client.run(os.getpid)) == 2, 30)  # those that others killed are back
        pids = dask._link.client.run(os.getpid)
        futures = work.map(range(50))
        futures.wait(WAIT)
        assert dask._link.client.run(os.getpid) == pids
        return [state.name for state in futures.states]

    names = main()
    assert {x: name for x, name in enumerate(names) if name != "Completed"} == {7: "Crashed"}


def test_a_poison_item_among_a_thousand(dask: DaskRunner) -> None:
    """Three workers die of it and no more; nothing else is blamed or counts another attempt."""

    @task
    def work(x: int) -> int:
        if x == 500:
            signal.raise_signal(signal.SIGSEGV)  # in this thread, as by code that reads where it may not
        return x

    @flow(runner=dask)
    def main() -> tuple[list[str], list[int], str]:
        futures = work.map(range(1000))
        futures.wait(WAIT)
        states = futures.states
        return [state.name for state in states], [state.attempt for state in states], states[500].message

    names, attempts, message = main()
    assert [x for x, name in enumerate(names) if name != "Completed"] == [500]
    assert names[500] == "Crashed"
    assert "poison" in message
    assert {x: attempt for x, attempt in enumerate(attempts) if attempt != 1} == {500: 3}


class NotOut:
    def __reduce__(self) -> Any:
        raise TypeError("stays here")


def test_exceptions_that_do_not_travel_are_told_as_they_were(dask: DaskRunner, session: Session) -> None:
    assert awkward.told(dask, session) == awkward.EXPECTED


def test_a_result_that_does_not_travel_fails_alone(dask: DaskRunner) -> None:
    @task
    def work(x: int) -> Any:
        return NotOut() if x == 3 else x

    @flow(runner=dask)
    def main() -> list[Any]:
        futures = work.map(range(10))
        futures.wait(WAIT)
        return [(state.name, state.message) for state in futures.states]

    found = main()
    assert [(x, name) for x, (name, _) in enumerate(found) if name != "Completed"] == [(3, "Failed")]
    assert "NotOut" in found[3][1]


def test_a_slow_reader_holds_its_producer_back(dask: DaskRunner, session: Session) -> None:
    """Fault test 20: an input without end is pulled no further than a window, and no more than that is kept."""
    seen = slow_reader.read_slowly(dask, session)
    assert seen.too_much == []
    assert len(seen.ahead) == slow_reader.STOPS


def test_unsatisfiable_resources(dask: DaskRunner) -> None:
    """A cluster whose size is known refuses at once and says what there is."""

    @task(resources={"cpus": 64})
    def work(x: int) -> int:
        return x

    @flow(runner=dask)
    def main() -> str:
        future = work.submit(1)
        future.wait(WAIT)
        return f"{future.state.name}: {future.state.message}"

    begun = time.monotonic()
    try:
        text = main()
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
    assert time.monotonic() - begun < 30
    assert "cpus" in text
    assert "64" in text
