"""A value lives as long as a future, a list or a state of it is held; what is kept of errors, arguments and runs."""

from __future__ import annotations

import pytest

from anabranch import ThreadRunner, flow, task
from anabranch.core.errors import ResultReleased
from tests.integration.memory.watch import WAIT, Value, Watch, dies, until

# -- handles -------------------------------------------------------------------------------------------


def test_a_value_dies_with_its_future(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def make() -> Value:
        return watch.make()

    @flow(runner=runner)
    def main() -> None:
        future = make.submit()
        future.wait(WAIT)
        assert watch.alive() == {0}
        assert future.result().number == 0
        assert watch.alive() == {0}
        del future
        dies(watch)

    main()


def test_a_result_in_hand_outlives_the_future(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def make() -> Value:
        return watch.make()

    @flow(runner=runner)
    def main() -> None:
        value = make.submit().result(WAIT)
        assert value.number == 0
        assert watch.alive() == {0}
        del value
        dies(watch)

    main()


def test_values_die_with_their_list(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(100))
        futures.wait(WAIT)
        assert watch.alive() == set(range(100))
        del futures
        dies(watch)

    main()


def test_an_item_future_keeps_its_value_beyond_the_list(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(50))
        futures.wait(WAIT)
        one = futures[17]
        del futures
        dies(watch, {17})
        assert one.result().number == 17
        del one
        dies(watch)

    main()


def test_a_list_that_nobody_holds_keeps_nothing(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        make.map(range(100))
        until(lambda: watch.made() == 100)
        dies(watch)

    main()


def test_a_with_block_ends_the_values(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        with make.map(range(20)) as futures:
            futures.wait(WAIT)
            assert len(watch.alive()) == 20
        dies(watch)
        with pytest.raises(ResultReleased):
            futures.result()

    main()


def test_a_state_in_hand_is_a_handle(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        state = make.submit(3).wait(WAIT)
        assert state.result().number == 3
        del state
        dies(watch)

    main()


# -- what is said and what is not kept -----------------------------------------------------------------


def test_a_released_value_says_how_to_keep_it(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        future = make.submit(1)
        future.wait(WAIT)
        future.release()
        future.release()
        dies(watch)
        with pytest.raises(ResultReleased, match=r"keep the future .* persist_result=True"):
            future.result()

    main()


def test_exceptions_keep_no_frames(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def fail(number: int) -> None:
        local = watch.make(number)
        try:
            raise KeyError(local.number)
        except KeyError as inner:
            raise ValueError("told") from inner

    @flow(runner=runner)
    def main() -> None:
        futures = fail.map(range(20))
        futures.wait(WAIT)
        dies(watch)
        error = futures[3].exception()
        assert isinstance(error, ValueError)
        assert isinstance(error.__cause__, KeyError)
        assert "local = watch.make" not in str(error)
        with pytest.raises(ValueError, match="told"):
            futures[4].result()
        assert len(futures.failed()) == 20

    with pytest.raises(ValueError, match="told"):
        main()
    dies(watch)


def test_an_error_raised_by_result_holds_no_value(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def fail(value: Value) -> None:
        raise ValueError("told")

    @flow(runner=runner)
    def main() -> str:
        try:
            fail.submit(task(watch.make).submit(1)).result(WAIT)
        except ValueError as error:
            return str(error)
        return ""

    assert main() == "told"
    dies(watch)


def test_arguments_die_with_their_item(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def read(value: Value) -> int:
        return value.number

    @flow(runner=runner)
    def main() -> None:
        futures = [read.submit(watch.make(n)) for n in range(10)]
        assert [f.result(WAIT) for f in futures] == list(range(10))
        dies(watch)

    main()


def test_a_flow_run_leaves_nothing(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @task
    def read(value: Value) -> int:
        return value.number

    @flow(runner=runner)
    def main() -> int:
        made = make.map(range(50))
        return sum(read.map(made).result(WAIT))

    assert main() == 1225
    dies(watch)
