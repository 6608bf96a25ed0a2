"""How a flow run ends: each rule, and that the first one that applies decides."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.core.states import Cancelled, Completed, Crashed, Failed, State, StateType
from anabranch.engine.final_state import Runs, bundle, decide, states_in

ERROR = ValueError("bad")
GOOD, BAD, STOPPED = Completed("", 1), Failed("", ERROR), Cancelled("")
CLEAN, DIRTY = Runs(3, 0), Runs(3, 1, ERROR, "load[17]: ValueError")


def ended(state: State) -> tuple[StateType, str]:
    return state.type, state.message


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("value", [None, 5, [], [5], [GOOD, 5], {"a": GOOD}])
def test_without_failures_data_completes(value: Any, strict: bool) -> None:
    state = decide(value, CLEAN, strict=strict)
    assert ended(state) == (StateType.COMPLETED, "")
    assert state.data is value


def test_nothing_returned_bundles_all_task_runs() -> None:
    state = decide(None, DIRTY)
    assert ended(state) == (StateType.FAILED, "1 of 3 task runs failed; first: load[17]: ValueError")
    assert str(state.exception()) == "bad"


def test_data_beside_a_failure_completes_unless_it_is_strict() -> None:
    assert ended(decide(5, DIRTY)) == (StateType.COMPLETED, "")
    assert ended(decide(5, DIRTY, strict=True)) == (
        StateType.FAILED, "1 of 3 task runs failed; first: load[17]: ValueError (strict)"
    )  # fmt: skip
    assert ended(decide(None, DIRTY, strict=True)) == ended(decide(None, DIRTY))


@pytest.mark.parametrize("runs", [CLEAN, DIRTY])
@pytest.mark.parametrize("state", [GOOD, BAD, STOPPED, Crashed("gone")])
def test_a_returned_state_is_that_of_the_flow(state: State, runs: Runs) -> None:
    assert decide(state, runs) is state


@pytest.mark.parametrize(
    ("found", "kind", "message"),
    [
        ([GOOD, GOOD], StateType.COMPLETED, "All states completed."),
        ([GOOD, BAD, Crashed("")], StateType.FAILED, "2/3 states failed."),
        ([GOOD, BAD, STOPPED], StateType.CANCELLED, "1/3 states cancelled."),
    ],
)
@pytest.mark.parametrize("collection", [list, tuple])
def test_returned_states_are_bundled(collection: Any, found: list[State], kind: StateType, message: str) -> None:
    value = collection(found)
    state = decide(value, CLEAN)
    assert ended(state) == ended(bundle(found, value)) == (kind, message)
    assert state.data is value


@pytest.mark.parametrize("value", [None, 5, BAD, [GOOD, BAD]])
def test_reference_tasks_come_before_what_was_returned(value: Any) -> None:
    assert ended(decide(value, DIRTY, reference=[GOOD, GOOD], strict=True)) == (
        StateType.COMPLETED,
        "All reference tasks succeeded.",
    )
    failed = decide(value, CLEAN, reference=[GOOD, BAD])
    assert ended(failed) == (StateType.FAILED, "Some reference tasks failed.")
    assert str(failed.exception()) == "bad"


def test_states_among_data_are_data() -> None:
    assert states_in([GOOD, 5]) is None
    assert states_in([]) is None
    assert states_in({"a": GOOD}) is None
    assert states_in(GOOD) == [GOOD]
    assert states_in((GOOD, BAD)) == [GOOD, BAD]
