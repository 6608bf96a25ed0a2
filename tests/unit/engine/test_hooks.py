"""Hooks look on, state handlers answer: in their order, whatever they raise."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest

from anabranch.core import states
from anabranch.core.options import FlowOptions, RunOptions, TaskOptions
from anabranch.core.states import Cancelled, Completed, Failed, Pending, Running, State, StateType
from anabranch.engine import drive
from anabranch.engine.hooks import callback_factory, called, handled, hooks_for, name_of

OPTIONS = ("on_running", "on_completion", "on_failure", "on_crashed", "on_cancellation", "on_retry")


def state_of(code: int) -> State:
    name, kind = states.NAMES[code]
    return State(kind, name)


@pytest.mark.parametrize("kind", [TaskOptions, FlowOptions])
@pytest.mark.parametrize(
    ("code", "option"),
    [
        (states.PENDING, None),
        (states.SCHEDULED, None),
        (states.AWAITING_SLOT, None),
        (states.AWAITING_CACHE, None),
        (states.AWAITING_RETRY, "on_retry"),
        (states.RUNNING, "on_running"),
        (states.RETRYING, "on_running"),
        (states.COMPLETED, "on_completion"),
        (states.CACHED, "on_completion"),
        (states.FAILED, "on_failure"),
        (states.TIMED_OUT, "on_failure"),
        (states.TRIGGER_FAILED, "on_failure"),
        (states.CRASHED, "on_crashed"),
        (states.CANCELLED, "on_cancellation"),
        (states.SUSPENDED, "on_cancellation"),
    ],
)
def test_each_state_has_its_hooks(kind: type[RunOptions], code: int, option: str | None) -> None:
    hooks: dict[str, Any] = {name: (name,) for name in OPTIONS}  # any object will do: none is called
    options = kind(**{name: value for name, value in hooks.items() if name in kind.__dataclass_fields__})
    expected = getattr(options, option, ()) if option else ()
    assert hooks_for(options, state_of(code)) == expected


def test_hooks_are_called_in_their_order_and_what_they_raise_changes_nothing() -> None:
    seen: list[Any] = []
    warned: list[str] = []
    new = Completed("done", 1)

    def first(obj: Any, run: Any, state: State) -> None:
        seen.append((obj, run, state))

    def broken(obj: Any, run: Any, state: State) -> None:
        raise ValueError("no")

    async def last(obj: Any, run: Any, state: State) -> None:
        seen.append("last")

    drive.run(called((first, broken, last), "task", "run", new, warned.append))
    assert seen == [("task", "run", new), "last"]
    assert warned == ["Hook 'broken' for state 'Completed' raised ValueError: no"]


def test_a_hook_that_ends_its_worker_does_so() -> None:
    def leave(obj: Any, run: Any, state: State) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        drive.run(called((leave,), "task", "run", Completed(), print))


# -- state handlers ----------------------------------------------------------------------------------


def decided(*handlers: Any, old: State | None = None, new: State | None = None) -> State:
    return drive.run(handled(handlers, "task", old or Running(), new or Completed("", 1)))


def test_none_lets_the_state_stand() -> None:
    new = Completed("", 1)
    assert decided(lambda obj, old, new: None, new=new) is new
    assert decided(new=new) is new


def test_a_handler_sees_what_those_before_it_answered() -> None:
    seen: list[str] = []

    def note(obj: Any, old: State, new: State) -> None:
        seen.append(f"{obj}: {old.name} -> {new.name}")

    async def replace(obj: Any, old: State, new: State) -> State:
        return Cancelled("not needed", name="Skipped")

    assert decided(note, replace, note).name == "Skipped"
    assert seen == ["task: Running -> Completed", "task: Running -> Skipped"]


def test_what_a_handler_raises_fails_the_run_and_ends_the_asking() -> None:
    error, asked = KeyError("k"), list[str]()

    def broken(obj: Any, old: State, new: State) -> None:
        raise error

    found = decided(broken, lambda obj, old, new: asked.append("next"))
    assert found.type is StateType.FAILED
    assert found.message == "Unexpected error while calling state handlers: KeyError: 'k'"
    assert repr(found.exception()) == repr(error)
    assert asked == []


@pytest.mark.parametrize("answer", [5, "Completed", Completed], ids=["number", "text", "class"])
def test_an_answer_that_is_no_state_fails_the_run(answer: Any) -> None:
    def odd(obj: Any, old: State, new: State) -> Any:
        return answer

    found = decided(odd)
    assert found.type is StateType.FAILED
    assert "'odd' returned " in found.message
    assert found.message.endswith("neither a State nor None")


def test_an_answer_that_may_not_follow_fails_the_run() -> None:
    def back(obj: Any, old: State, new: State) -> State:
        return Pending()

    found = decided(back)
    assert found.type is StateType.FAILED
    assert "'back' answered Pending: a run that is RUNNING cannot become PENDING: it has begun" in found.message
    assert decided(back, old=Pending()).name == "Pending", "that has not begun"


# -- callbacks ---------------------------------------------------------------------------------------


def _is_failed(state: State) -> bool:
    return state.type is StateType.FAILED


def _note(obj: Any, state: State) -> None:
    obj.append(state.name)


def test_a_callback_is_called_where_its_check_holds_and_lets_the_state_stand() -> None:
    seen: list[str] = []
    callback = callback_factory(_note, _is_failed)
    for new in (Completed(), Failed("no")):
        assert callback(seen, Running(), new) is new
    assert seen == ["Failed"]
    assert name_of(callback) == "_note"


def test_a_callback_travels_by_what_it_is_made_of() -> None:
    copy = pickle.loads(pickle.dumps(callback_factory(len, bool)))
    assert (copy.fn, copy.check) == (len, bool)


def test_partials_are_called_by_what_they_call() -> None:
    assert name_of(functools.partial(functools.partial(_note, [1]), None)) == "_note"
