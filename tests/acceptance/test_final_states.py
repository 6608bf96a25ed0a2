"""How a flow ends, by what it returns and by what became of its task runs: every rule, as a user meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch import allow_failure, as_completed, flow, quote, set_reference_tasks, state, task, wait
from anabranch.core.errors import UnfinishedRun, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.gates import Gate


@task
def good() -> int:
    return 1


@task
def bad() -> int:
    raise ValueError("no good")


@task
def worse() -> int:
    raise KeyError("worse")


@task
def even_only(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


@task
def told(value: Any) -> str:
    return f"{value!r}"


def test_data_beside_a_failure_that_nobody_saw_is_completed_with_a_warning(
    runner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @flow
    def main() -> str:
        bad.submit()
        even_only.map(range(4))
        good.submit()
        return "data"

    ended = main(return_state=True)
    assert (ended.name, ended.result()) == ("Completed", "data")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "| WARNING | Flow run" in line]
    assert [line.rsplit(" - ", 1)[1] for line in warnings] == ["3 of 6 task runs failed: not raised, not handled"]


def test_strict_makes_it_a_failure(runner: str) -> None:
    @flow(strict=True)
    def main() -> str:
        good.submit()
        bad.submit()
        return "data"

    ended = main(return_state=True)
    assert (ended.name, ended.message) == ("Failed", "1 of 2 task runs failed; first: bad[0]: ValueError (strict)")
    with pytest.raises(ValueError, match="no good"):
        main()


def _caught() -> None:
    try:
        bad.submit().result()
    except ValueError:
        pass


def _called() -> None:
    try:
        bad()
    except ValueError:
        pass


@flow
def bad_child() -> int:
    raise ValueError("no good")


def _turned_away() -> None:
    """The cause is handled with what it was the cause of."""
    assert isinstance(told(bad.submit(), return_state=True).exception(), UpstreamError)


HANDLES: dict[str, Callable[[], Any]] = {
    "result() in a try": _caught,
    "a call in a try": _called,
    "result(raise_on_failure=False)": lambda: bad.submit().result(raise_on_failure=False),
    "exception()": lambda: bad.submit().exception(),
    "state.result": lambda: bad.submit().wait().result(raise_on_failure=False),
    "allow_failure": lambda: told.submit(allow_failure(bad.submit())).result(),
    "wait_for=[allow_failure(...)]": lambda: told.submit(1, wait_for=[allow_failure(bad.submit())]).result(),
    "a called task's state": lambda: bad(return_state=True).exception(),
    "a called flow's state": lambda: bad_child(return_state=True).result(raise_on_failure=False),
    "a call that did not begin": _turned_away,
    "allow_failure(a State)": lambda: told.submit(allow_failure(bad(return_state=True))).result(),
    "allow_failure(a flow's State)": lambda: told.submit(allow_failure(bad_child(return_state=True))).result(),
    "a map's result": lambda: even_only.map(range(3)).result(raise_on_failure=False),
}


@pytest.mark.parametrize("how", list(HANDLES))
@pytest.mark.parametrize("data", ["data", None])
def test_a_handled_failure_fails_no_flow(runner: str, how: str, data: str | None) -> None:
    @flow(strict=True)
    def main() -> str | None:
        good.submit()
        HANDLES[how]()
        return data

    ended = main(return_state=True)
    assert (ended.name, ended.result()) == ("Completed", data)


def _waited() -> None:
    bad.submit().wait()


def _state_passed_on() -> None:
    """Its consumer is not admitted, and nobody asks that one either."""
    told.submit(bad(return_state=True))


def _listed() -> None:
    wait([bad.submit()])


def _streamed() -> None:
    list(as_completed([bad.submit()]))


LOOKS: dict[str, Callable[[], Any]] = {
    "nothing": bad.submit,
    "wait()": _waited,
    "wait([...])": _listed,
    "as_completed": _streamed,
    "a called task's state": lambda: bad(return_state=True),
    "a called flow's state": lambda: bad_child(return_state=True),
    "a State as an argument": _state_passed_on,
}


@pytest.mark.parametrize("how", list(LOOKS))
def test_waiting_for_a_failure_does_not_handle_it(runner: str, how: str) -> None:
    """That it has ended is not yet what it ended with."""

    @flow
    def main() -> None:
        LOOKS[how]()

    assert main(return_state=True).name == "Failed"
    with pytest.raises((ValueError, UpstreamError), match="no good"):  # and none of them as a RemoteError
        main()


def test_returned_futures_and_states_decide(runner: str) -> None:
    """What was returned decides alone, whatever became of the rest."""

    @flow
    def main(what: str) -> Any:
        bad.submit()
        right, wrong = good.submit(), worse.submit()
        return {
            "future": right, "failed future": wrong, "state": right.wait(), "failed state": wrong.wait(),
            "futures": [right, right], "states": (right.wait(), wrong.wait()),
            "mixed": [wrong, right], "map": even_only.map([0, 2]), "failed map": even_only.map([0, 1, 3]),
        }[what]  # fmt: skip

    found = {}
    for what in ("future", "state", "futures", "map", "failed future", "failed state", "states", "mixed", "failed map"):
        ended = main(what, return_state=True)
        found[what] = (ended.name, ended.message if ended.is_failed() else ended.result())
    wrong = "Task run encountered an exception KeyError: 'worse'"
    assert found == {
        "future": ("Completed", 1), "state": ("Completed", 1), "futures": ("Completed", [1, 1]),
        "map": ("Completed", [0, 2]), "failed future": ("Failed", wrong), "failed state": ("Failed", wrong),
        "states": ("Failed", "1/2 states failed."), "mixed": ("Failed", "1/2 states failed."),
        "failed map": ("Failed", "2/3 states failed."),
    }  # fmt: skip
    assert [main(what) for what in ("future", "state", "futures", "map")] == [1, 1, [1, 1], [0, 2]]
    for what in ("failed future", "failed state", "states", "mixed"):
        with pytest.raises(KeyError, match="worse"):
            main(what)
    with pytest.raises(ValueError, match="1 is odd"):
        main("failed map")


def test_a_state_made_by_hand_decides(runner: str) -> None:
    @flow
    def main(ended: state.State) -> Any:
        bad.submit()
        return ended

    assert main(quote(state.Completed(data=5))) == 5
    assert main(quote(state.Failed("by hand")), return_state=True).message == "by hand"
    assert main(quote(state.Cancelled("by hand")), return_state=True).name == "Cancelled"


def test_nothing_returned_bundles_all_runs(runner: str) -> None:
    @flow
    def main() -> None:
        told.submit(bad.submit())
        good.submit()

    ended = main(return_state=True)
    assert ended.name == "Failed"
    assert ended.message.startswith(("2 of 3 task runs failed; first: bad", "2 of 3 task runs failed; first: told"))
    with pytest.raises((ValueError, UpstreamError)):
        main()


def test_what_it_raised_comes_before_all_else(runner: str) -> None:
    @flow
    def main() -> None:
        set_reference_tasks([good])
        good.submit()
        raise RuntimeError("its own")

    ended = main(return_state=True)
    assert ended.message == "Flow run encountered an exception: RuntimeError: its own"


def test_reference_tasks_come_before_what_was_returned(runner: str) -> None:
    @flow
    def main(names: list[str]) -> Any:
        set_reference_tasks(names)
        good.submit()
        return bad.submit()

    assert main(["good"], return_state=True).message == "All reference tasks succeeded."
    ended = main(["good", "bad"], return_state=True)
    assert (ended.name, ended.message) == ("Failed", "Some reference tasks failed.")


def _both(make: Any) -> tuple[Any, Any]:
    """Two runs that completed, or failed, as futures and as States."""
    return make.submit(), make(return_state=True)


SHAPES: dict[str, Callable[[Any, Any], Any]] = {
    "alone": lambda future, made: made,
    "list": lambda future, made: [future, made],
    "tuple": lambda future, made: (made, made),
    "set": lambda future, made: {made},
    "dict": lambda future, made: {"a": made, "b": future},
    "data beside it": lambda future, made: ("data", made),
    "deep": lambda future, made: {"a": [(future, {"b": made})]},
    "a map": lambda future, made: [even_only.map([0, 2]), made],
}
VALUES = {
    "alone": 1, "list": [1, 1], "tuple": (1, 1), "set": {1}, "dict": {"a": 1, "b": 1}, "data beside it": ("data", 1),
    "deep": {"a": [(1, {"b": 1})]}, "a map": [[0, 2], 1],
}  # fmt: skip


@pytest.mark.parametrize("shape", list(SHAPES))
def test_one_rule_for_futures_and_states_wherever_they_are_returned(runner: str, shape: str) -> None:
    """Values in their place; and how they ended decides."""

    @flow
    def main(work: Any) -> Any:
        return SHAPES[shape](*_both(work))

    @flow
    def admits() -> Any:
        return SHAPES[shape](allow_failure(bad.submit()), allow_failure(bad(return_state=True)))

    assert main(good) == VALUES[shape]
    assert main(good, return_state=True).result() == VALUES[shape]
    assert main(bad, return_state=True).is_failed()
    with pytest.raises(ValueError, match="no good"):
        main(bad)
    if shape != "set":
        assert admits(return_state=True).is_completed()


def test_a_returned_state_that_is_not_final_is_an_error(runner: str) -> None:
    @flow
    def main() -> Any:
        return [state.Running()]

    with pytest.raises(UnfinishedRun, match="is not final"):
        main()


# -- runs that the flow cancels itself --------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_runs_that_the_flow_cancels_are_no_failures(
    concurrent: str, whole: bool, gates: Callable[[str], Gate], caplog: pytest.LogCaptureFixture
) -> None:
    gate = gates("shut")

    @task
    def held(x: int) -> int:
        gate.pass_through()
        return x

    @flow
    def main() -> Any:
        futures = held.map(range(8), chunk=1)
        if whole:
            futures.cancel()
        else:
            futures[7].cancel()
        gate.open()
        futures.wait()
        return 7 if whole else None

    state = main(return_state=True)
    assert state.is_completed()
    assert "not handled" not in caplog.text
