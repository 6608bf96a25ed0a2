"""The process runner and what is hard to move: values and errors that do not pickle, arrays too big to copy."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from anabranch import ProcessRunner, flow, task, unmapped
from anabranch.core.errors import RemoteError, SerializationError
from tests.faults.workers import WAIT, assert_works, later, needs_shm

pytestmark = pytest.mark.sampled(3, "a pool for each")


def test_a_result_that_cannot_be_pickled_fails_alone(runner: ProcessRunner) -> None:
    @task
    def work(x: int) -> Any:
        return ({"deep": [x, threading.Lock()]} if x == 7 else {"deep": [x]}), os.getpid()

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(40))
        futures.wait(WAIT)
        pids = {w.process.pid for w in runner._workers}
        assert futures.failed() == [7]
        found = [futures[i].result() for i in range(40) if i != 7]
        assert [v for v, _ in found] == [{"deep": [i]} for i in range(40) if i != 7]
        assert {pid for _, pid in found} <= pids
        assert later(futures) == []
        with pytest.raises(SerializationError, match="lock"):
            futures[7].result()
        assert futures.states[7].is_failed()
        assert_works(runner)
        assert {w.process.pid for w in runner._workers} == pids

    main()


def test_a_result_that_cannot_be_pickled_names_the_path(runner: ProcessRunner) -> None:
    @task
    def work(x: int) -> Any:
        return {"deep": [x, threading.Lock()]}

    @flow(runner=runner)
    def main() -> None:
        future = work.submit(1)
        with pytest.raises(SerializationError, match=r"\['deep'\]\[1\]"):
            future.result(WAIT)

    main()


def _awkward(kind: str) -> Exception:
    class Awkward(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(f"{first} and {second}")

        if kind == "raises":

            def __reduce__(self) -> Any:
                def boom() -> Any:
                    raise ValueError("this exception does not unpickle")

                return (boom, ())

        if kind == "unpicklable":

            def __reduce__(self) -> Any:
                raise TypeError("no")

        if kind == "str":

            def __str__(self) -> str:
                raise RuntimeError("no text")

    return Awkward("salt", "pepper")


@pytest.mark.parametrize("kind", ["two arguments", "raises", "unpicklable"])
def test_an_exception_that_cannot_travel_is_told_in_words(runner: ProcessRunner, kind: str) -> None:
    @task
    def work(x: int) -> int:
        if x == 3:
            raise _awkward(kind)
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(10))
        futures.wait(WAIT)
        assert futures.failed() == [3]
        error = futures[3].exception()
        told = f"{type(error).__name__} {error} {getattr(error, '__notes__', '')}"
        assert "Awkward" in told
        assert "salt and pepper" in told
        assert "raise _awkward(kind)" in told
        if isinstance(error, RemoteError):
            assert error.type_name.endswith("Awkward")
            assert error.message == "salt and pepper"
            assert "raise _awkward(kind)" in error.traceback
        assert "Awkward" in futures.states[3].message or "salt and pepper" in futures.states[3].message
        assert_works(runner)

    main()


def test_an_exception_without_a_text_hangs_nothing(runner: ProcessRunner) -> None:
    @task
    def work() -> None:
        raise _awkward("str")

    @flow(runner=runner)
    def main() -> None:
        error = work.submit().exception(WAIT)
        assert isinstance(error, Exception)
        assert "Awkward" in f"{type(error).__name__} {getattr(error, 'type_name', '')}"
        assert_works(runner)

    main()


@needs_shm
def test_big_arrays_are_mapped_not_copied(runner: ProcessRunner) -> None:
    numpy = pytest.importorskip("numpy")
    constant = numpy.arange(20 * 2**20 // 8, dtype="i8")

    @task
    def look(x: int, shared: Any) -> tuple[int, bool, bool]:
        return int(shared[x]), bool(shared.flags.writeable), bool(shared.flags.owndata)

    @task
    def make(x: int) -> Any:
        return numpy.full(2**20, x, "f8")

    @task
    def total(array: Any) -> float:
        return float(array.sum())

    @flow(runner=runner)
    def main() -> None:
        assert look.map(range(10), unmapped(constant)).result(WAIT) == [(x, False, False) for x in range(10)]
        sizes = [p.stat().st_size for p in runner._folder.iterdir() if p.stat().st_size >= 2**20]
        assert len(sizes) == 1, "the constant lies in shared memory once"
        made = make.submit(3)
        assert total.submit(made).result(WAIT) == 3.0 * 2**20
        array = made.result()
        assert array.shape == (2**20,)
        assert (array == 3).all()
        assert not array.flags.owndata

    main()
