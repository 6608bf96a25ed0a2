"""What every runner promises: one suite over all of them (`core.contracts.Runner`); errors and ends lie beside it."""

from __future__ import annotations

import gc
import threading
from functools import partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import Binding, Stage
from anabranch.core.errors import AnabranchError, RunnerError
from anabranch.core.events import SlotsChanged
from anabranch.core.options import TaskOptions
from anabranch.core.reports import Held
from anabranch.core.search import Hole
from anabranch.core.states import COMPLETED
from anabranch.core.task_spec import TaskSpec
from tests.contract.tasks import BIG, WAIT, add_one, big, double, head

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Runner
    from tests.contract.conftest import Bench

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
