"""What every runner promises of errors: each is its own item's only, and is told whatever it is made of."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import SerializationError
from anabranch.core.states import COMPLETED, CRASHED, FAILED
from tests.contract.tasks import double, pick_third

if TYPE_CHECKING:
    from tests.contract.conftest import Bench


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
