"""What every runner promises: one suite, unchanged over all of them (`core.contracts.Runner`)."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.contracts import (
    Binding,
    ChunkLost,
    EngineLost,
    Held,
    Report,
    SlotsChanged,
    Stage,
    TaskSpec,
)
from anabranch.core.errors import AnabranchError, RunnerError, SerializationError
from anabranch.core.options import TaskOptions
from anabranch.core.states import CANCELLED, COMPLETED, CRASHED, FAILED
from anabranch.core.walk import Hole

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Runner
    from tests.contract.conftest import Bench

WAIT = 30.0
BIG = 300_000  # bytes that no report brings home by itself


# -- tasks: run on the workers, which may not be able to import this file --------------------------


def add_one(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    return 2 * x


def big(x: int) -> bytes:
    return bytes([x % 256]) * BIG


def head(data: bytes) -> tuple[int, int]:
    return data[0], len(data)


def pick_third(x: int) -> int:
    if x % 3 == 0:
        raise ValueError(f"no {x}")
    return x


def gate(folder: str) -> Callable[[int], int]:
    """A task that says that it began, then waits to be let go; steered by files, which all workers see."""

    def wait_at(x: int) -> int:
        Path(folder, f"begun-{x}").touch()
        end = time.monotonic() + WAIT
        while not os.path.exists(os.path.join(folder, "open")):
            if time.monotonic() > end:
                raise TimeoutError("nobody opened the gate")
            time.sleep(0.002)
        return x

    return wait_at


def marked(folder: str) -> Callable[[int], int]:
    """A task that leaves a mark, so that a test sees that it ran."""

    def leave_mark(x: int) -> int:
        Path(folder, f"ran-{x}").touch()
        return x

    return leave_mark


@pytest.fixture(autouse=True)
def by_value() -> Any:
    """This file is no module that a worker could import: its functions travel by value."""
    cloudpickle = __import__("cloudpickle")
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


class Gate:
    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.stage = bench.task(gate(str(folder)))

    def begun(self, x: int) -> None:
        self.bench.until_true(lambda: (self.folder / f"begun-{x}").exists())

    def open(self) -> None:
        (self.folder / "open").touch()

    def ran(self) -> set[int]:
        return {int(f.name.removeprefix("ran-")) for f in self.folder.glob("ran-*")}


@pytest.fixture
def gated(bench: Bench, tmp_path: Path) -> Gate:
    """Work that runs while the test goes on; asked for by tests that inline is left out of."""
    return Gate(bench, tmp_path)


# -- life ------------------------------------------------------------------------------------------


def test_start_tells_capabilities_and_slots(bench: Bench, kind: str) -> None:
    capabilities = bench.capabilities
    assert capabilities.name == kind
    assert capabilities.values in ("inline", "packed", "held")
    assert capabilities.in_process == (kind in ("inline", "thread"))
    assert bench.slots() >= 1
    slots = bench.runner.slots()
    assert isinstance(slots, SlotsChanged)
    assert slots.maximum is None or slots.maximum >= slots.now


def test_start_twice_is_refused(bench: Bench) -> None:
    with pytest.raises(RunnerError):
        bench.runner.start(bench.sink)


def test_close_is_idempotent_and_final(new_runner: Callable[[], Runner]) -> None:
    runner = new_runner()
    runner.start(lambda events: None)
    runner.close()
    runner.close(cancel=True)
    with pytest.raises(RunnerError):
        runner.submit([])


def test_submit_before_start_is_refused(new_runner: Callable[[], Runner]) -> None:
    with pytest.raises(RunnerError):
        new_runner().submit([])


# -- chunks and values -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 100])
def test_values_come_back_in_order(bench: Bench, count: int) -> None:
    done = bench.run(bench.task(add_one), range(count))
    assert bench.values(done) == list(range(1, count + 1))
    assert done.codes == [[COMPLETED] * count]
    assert done.outcomes == []


def test_many_chunks_end_once_each(bench: Bench) -> None:
    stage = bench.task(add_one)
    chunks = [bench.chunk(stage, [n]) for n in range(1000)]
    for n in range(0, 1000, 50):
        bench.runner.submit(chunks[n : n + 50])
    bench.ended(*[chunk.id for chunk in chunks])
    got = [bench.values(bench.chunks[chunk.id]) for chunk in chunks]
    assert got == [[n + 1] for n in range(1000)]
    assert bench.strangers == []


def test_stages_run_through(bench: Bench) -> None:
    done = bench.run([bench.task(add_one), bench.task(double), bench.task(add_one)], range(10))
    assert bench.values(done, 2) == [2 * (n + 1) + 1 for n in range(10)]
    assert bench.values(done, 1) == [2 * (n + 1) for n in range(10)]
    assert bench.values(done, 0) == [n + 1 for n in range(10)]


def test_values_not_kept_stay_away(bench: Bench) -> None:
    done = bench.run([bench.task(add_one), bench.task(double)], range(5), keep=(False, True))
    assert [block for _, block, _ in done.blocks[0]] == [None] * len(done.blocks[0])
    assert bench.values(done, 1) == [2, 4, 6, 8, 10]
    none = bench.run(bench.task(big), range(3), keep=(False,))
    assert none.codes == [[COMPLETED] * 3]
    assert bench.handles(none) == []


@pytest.mark.parametrize("value", [None, "text", {"a": [1, (2, 3)]}, b"", 10**100, float("inf")])
def test_values_of_all_kinds(bench: Bench, value: Any) -> None:
    assert bench.values(bench.run(bench.task(lambda x: x), [value, value])) == [value, value]


def test_big_values_come_when_asked_for(bench: Bench) -> None:
    done = bench.run(bench.task(big), [1, 2, 3])
    assert [head(value) for value in bench.values(done)] == [(1, BIG), (2, BIG), (3, BIG)]
    if not bench.capabilities.in_process:
        assert bench.handles(done), "values of 300 kB came home unasked"
        nbytes = sum(block.nbytes for _, block, _ in done.blocks[0])
        assert 3 * BIG <= nbytes < 3 * BIG + 10_000


def test_arrays_round_trip(bench: Bench) -> None:
    numpy = pytest.importorskip("numpy")
    done = bench.run(bench.task(lambda n: numpy.arange(n)), [10, 200_000])
    small, large = bench.values(done)
    assert small.sum() == 45
    assert large.sum() == 199_999 * 100_000


def test_some_slots_of_a_block(bench: Bench) -> None:
    done = bench.run(bench.task(big), range(4), close_bytes=100 << 20)
    for handle, block, count in done.blocks[0]:
        if isinstance(block, Held):
            last = bench.runner.fetch(handle, [count - 1, 0])
            assert [value[0] for value in last] == [handle.first + count - 1, handle.first]


def test_constants_and_shared_values(bench: Bench) -> None:
    spec, constants, stage = (next(bench.ids) for _ in range(3))
    bench.runner.put(spec, TaskSpec("scaled", lambda x, by, plus: x * by + plus, TaskOptions()))
    bench.runner.put(constants, (10, 7))
    binding = Binding(args=(("item", 0), ("const", 0)), kwargs=(("plus", ("const", 1)),))
    bench.runner.put(stage, Stage(spec, constants, binding, map_id="m"))
    assert bench.values(bench.run(stage, [1, 2])) == [17, 27]


def test_drop_forgets(bench: Bench) -> None:
    stage = bench.task(add_one)
    assert bench.values(bench.run(stage, [1])) == [2]
    bench.runner.drop([stage, stage, 10**9])
    again = bench.task(double)
    assert bench.values(bench.run(again, [4])) == [8]


# -- values that stay where they are ---------------------------------------------------------------


def feed(bench: Bench, stage: int, source: Any, positions: list[int]) -> Any:
    """Run `stage` over values that an earlier chunk made, without looking at them."""
    args: list[Any] = []
    inputs: list[Any] = []
    wants: dict[int, tuple[int, ...]] = {}
    for position in positions:
        for handle, block, count in source.blocks[-1]:
            slot = position - handle.first
            if 0 <= slot < count:
                if isinstance(block, Held):
                    wants[len(args)] = (len(inputs),)
                    inputs.append((handle, slot))
                    args.append(Hole(0))
                else:
                    args.append(bench.read(handle, block, count)[slot])
    return bench.run(stage, args, inputs=tuple(inputs), wants=wants)


def test_inputs_from_blocks_of_an_earlier_chunk(bench: Bench) -> None:
    first = bench.run(bench.task(big), range(5))
    second = feed(bench, bench.task(head), first, [4, 0, 3])
    assert bench.values(second) == [(4, BIG), (0, BIG), (3, BIG)]


def test_inputs_from_several_chunks_and_workers(bench: Bench) -> None:
    stage = bench.task(big)
    ids = [bench.submit(stage, [n]) for n in range(6)]
    bench.ended(*ids)
    heads = bench.task(head)
    for n, chunk in enumerate(ids):
        assert bench.values(feed(bench, heads, bench.chunks[chunk], [0])) == [(n, BIG)]


def test_a_released_block_is_gone(bench: Bench) -> None:
    done = bench.run(bench.task(big), range(2))
    handles = bench.handles(done)
    bench.runner.release(handles)
    bench.runner.release(handles)
    bench.runner.release([])
    for handle in handles:
        with pytest.raises(AnabranchError):
            bench.runner.fetch(handle, [0])


def test_release_from_a_finalizer_and_from_threads(bench: Bench) -> None:
    class Owner:
        def __init__(self, handles: Any) -> None:
            self.handles = handles
            self.self = self  # a cycle: only the collector finds it, anywhere

        def __del__(self) -> None:
            bench.runner.release(self.handles)

    stage = bench.task(big)
    held = []
    for n in range(4):
        handles = bench.handles(bench.run(stage, [n]))
        held.extend(handles)
        Owner(handles)
    threads = [threading.Thread(target=bench.runner.release, args=(held,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    gc.collect()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert bench.values(bench.run(bench.task(add_one), [1])) == [2]


# -- errors ----------------------------------------------------------------------------------------


def test_an_error_is_its_own_items_only(bench: Bench) -> None:
    done = bench.run(bench.task(pick_third), range(7))
    assert done.codes == [[FAILED, COMPLETED, COMPLETED] * 2 + [FAILED]]
    values = bench.values(done)
    assert [values[n] for n in (1, 2, 4, 5)] == [1, 2, 4, 5]
    error = done.outcome(3).error
    assert error is not None
    assert (error.type_name.split(".")[-1], error.message) == ("ValueError", "no 3")
    assert "pick_third" in error.traceback


def test_a_failed_stage_ends_its_item_only(bench: Bench) -> None:
    done = bench.run([bench.task(pick_third), bench.task(double)], range(4))
    assert done.codes[0] == [FAILED, COMPLETED, COMPLETED, FAILED]
    assert [done.codes[1][n] for n in (1, 2)] == [COMPLETED, COMPLETED]
    assert COMPLETED not in (done.codes[1][0], done.codes[1][3])
    assert [bench.values(done, 1)[n] for n in (1, 2)] == [2, 4]


def test_errors_that_do_not_pickle(bench: Bench) -> None:
    def fail(x: int) -> int:
        class Unreachable(Exception):
            def __init__(self, a: int, b: int) -> None:
                super().__init__(f"{a} and {b}")
                self.lock = threading.Lock()

        raise Unreachable(x, x + 1)

    done = bench.run(bench.task(fail), [1])
    error = done.outcome(0).error
    assert error is not None
    assert error.type_name.split(".")[-1] == "Unreachable"
    assert "1 and 2" in error.message
    assert "raise Unreachable" in error.traceback or "Unreachable" in error.traceback


def test_values_that_do_not_pickle(bench: Bench) -> None:
    def lock_of(x: int) -> Any:
        return threading.Lock() if x == 1 else x

    done = bench.run(bench.task(lock_of), range(3))
    if bench.capabilities.in_process:
        assert done.codes == [[COMPLETED] * 3]
    else:
        assert done.codes == [[COMPLETED, FAILED, COMPLETED]]
        assert "pickle" in (done.outcome(1).error.message + done.outcome(1).message)  # type: ignore[union-attr]
        assert [bench.values(done)[n] for n in (0, 2)] == [0, 2]


def test_arguments_that_do_not_pickle(bench: Bench) -> None:
    """A bad item never makes submit raise: the chunk ends, and others go on."""
    stage = bench.task(lambda x: 1)
    done = bench.run(stage, [threading.Lock()])
    if bench.capabilities.in_process:
        assert bench.values(done) == [1]
    else:
        assert done.lost is not None
        assert done.lost.reason == "unserializable"
    assert bench.values(bench.run(stage, [0])) == [1]


def test_functions_that_do_not_pickle(bench: Bench) -> None:
    lock = threading.Lock()
    if bench.capabilities.in_process:
        assert bench.values(bench.run(bench.task(lambda x: lock.locked()), [0])) == [False]
    else:
        with pytest.raises(SerializationError):
            bench.task(lambda x: lock.locked())


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_exits_in_a_task_end_that_item_only(bench: Bench, error: type[BaseException]) -> None:
    def leave(x: int) -> int:
        if x == 1:
            raise error(3)
        return x

    done = bench.run(bench.task(leave), range(3))
    assert done.lost is None
    assert done.codes == [[COMPLETED, CRASHED, COMPLETED]]
    info = done.outcome(1).error
    assert info is not None
    assert info.type_name.split(".")[-1] == error.__name__


# -- functions of all kinds ------------------------------------------------------------------------


def test_lambdas_closures_and_partials(bench: Bench) -> None:
    offset = 40
    assert bench.values(bench.run(bench.task(lambda x: x * 3), [2])) == [6]
    assert bench.values(bench.run(bench.task(lambda x: x + offset), [2])) == [42]
    assert bench.values(bench.run(bench.task(partial(pow, 2)), [10])) == [1024]


def test_functions_of_main_and_of_a_notebook(bench: Bench) -> None:
    """A function of a module that workers cannot import, calling another one there and a class of its own."""
    module = ModuleType("__main__")
    source = "class Point:\n    x = 5\ndef helper(n):\n    return n + Point.x\ndef task(n):\n    return helper(n)\n"
    exec(compile(source, "<cell>", "exec"), module.__dict__)
    task = module.__dict__["task"]
    assert isinstance(task, FunctionType)
    assert bench.values(bench.run(bench.task(task), [1, 2])) == [6, 7]


def test_async_functions(bench: Bench) -> None:
    async def later(x: int) -> int:
        return x + 1

    assert bench.values(bench.run(bench.task(later), range(3))) == [1, 2, 3]


# -- taking work back ------------------------------------------------------------------------------


def test_shorten_returns_the_rest_uncounted(bench: Bench, gated: Gate) -> None:
    chunk = bench.submit(gated.stage, [0, 1, 2, 3])
    gated.begun(0)
    bench.runner.shorten(chunk, 2)
    bench.runner.shorten(chunk, 3)  # never longer again
    bench.delivered()
    gated.open()
    done = bench.ended(chunk)
    assert done.lost is None
    assert 1 <= done.finished <= 2
    assert bench.values(done) == [0, 1][: done.finished]
    assert not (gated.folder / "begun-3").exists()


def occupy(bench: Bench, gated: Gate) -> list[int]:
    """Fill every slot."""
    ids = [bench.submit(gated.stage, [1000 + n]) for n in range(bench.slots())]
    for n in range(len(ids)):
        gated.begun(1000 + n)
    return ids


def test_cancel_before_the_start(bench: Bench, gated: Gate) -> None:
    busy = occupy(bench, gated)
    mark = bench.task(marked(str(gated.folder)))
    whole, part, other = (bench.submit(mark, args) for args in ([1, 2], [3, 4, 5], [6]))
    bench.runner.cancel(whole)
    bench.runner.cancel(part, [0, 2])
    bench.delivered()
    gated.open()
    bench.ended(whole, part, other, *busy)
    assert gated.ran() == {4, 6}
    assert set(bench.chunks[whole].codes[0]) <= {CANCELLED}
    assert COMPLETED in bench.chunks[part].codes[0]
    for chunk in busy:
        assert len(bench.values(bench.chunks[chunk])) == 1


def test_shorten_a_queued_chunk_to_nothing(bench: Bench, gated: Gate) -> None:
    busy = occupy(bench, gated)
    queued = bench.submit(bench.task(marked(str(gated.folder))), [1, 2])
    bench.runner.shorten(queued, 0)
    bench.delivered()
    gated.open()
    done = bench.ended(*busy, queued)
    assert done.lost is None
    assert done.finished == 0
    assert gated.ran() == set()


def test_late_and_unknown_ids_are_harmless(bench: Bench) -> None:
    done = bench.run(bench.task(add_one), [1])
    for chunk in (done.chunk.id, 10**9):
        bench.runner.shorten(chunk, 0)
        bench.runner.cancel(chunk)
        bench.runner.cancel(chunk, [0], force=True)
        bench.runner.blocked(chunk, True)
        bench.runner.blocked(chunk, False)
    assert bench.values(bench.run(bench.task(add_one), [1])) == [2]
    assert done.ends == 1


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel", [False, True])
def test_close_with_work_queued(bench: Bench, gated: Gate, cancel: bool) -> None:
    occupy(bench, gated)
    for n in range(5):
        bench.submit(gated.stage, [n])
    closer = threading.Thread(target=bench.runner.close, kwargs={"cancel": cancel, "timeout": WAIT})
    closer.start()
    if not cancel:
        gated.open()
    closer.join(2 * WAIT)
    assert not closer.is_alive()
    count = len(bench.events)
    if not any(isinstance(event, EngineLost) for event in bench.events):
        assert [outcomes.ends for outcomes in bench.chunks.values()] == [1] * len(bench.chunks)
    gated.open()
    for thread in threading.enumerate():
        if thread.name.startswith("anabranch-"):
            thread.join(0.2)
    assert len(bench.events) == count, f"after close: {bench.events[count:]}"


def test_close_waits_for_what_runs(bench: Bench, gated: Gate) -> None:
    chunk = bench.submit(gated.stage, [0])
    gated.begun(0)
    closer = threading.Thread(target=bench.runner.close)
    closer.start()
    gated.open()
    closer.join(WAIT)
    assert not closer.is_alive()
    [final] = [e for e in bench.events if isinstance(e, (Report, ChunkLost)) and e.chunk == chunk]
    assert isinstance(final, Report)
    assert final.final


def test_reports_name_their_worker_and_their_times(bench: Bench) -> None:
    before = time.time()
    done = bench.run(bench.task(add_one), range(3))
    [*reports] = [e for e in bench.events if isinstance(e, Report) and e.chunk == done.chunk.id]
    assert all(before - 1 <= report.base <= time.time() + 1 for report in reports)
    assert sum(len(report.durations or ()) for report in reports) == 3
    assert reports[-1].final
    assert [report.final for report in reports[:-1]] == [False] * (len(reports) - 1)
