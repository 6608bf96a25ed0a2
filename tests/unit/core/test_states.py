"""The transition table, and states as a user makes them."""

from __future__ import annotations

import pytest

from anabranch.core.errors import TransitionError
from anabranch.core.states import (
    BY_NAME,
    TERMINAL,
    Cancelled,
    Completed,
    Failed,
    StateType,
    TimedOut,
    check_transition,
)

OPEN = sorted(set(StateType) - TERMINAL)


@pytest.mark.parametrize("new", StateType)
def test_a_run_begins_anyhow(new: StateType) -> None:
    check_transition(None, new)


@pytest.mark.parametrize("old", sorted(TERMINAL))
@pytest.mark.parametrize("new", StateType)
def test_a_terminal_state_is_left_by_a_new_attempt_only(old: StateType, new: StateType) -> None:
    with pytest.raises(TransitionError, match="only by a new attempt"):
        check_transition(old, new)
    if new in TERMINAL:
        with pytest.raises(TransitionError):
            check_transition(old, new, new_attempt=True)
    else:
        check_transition(old, new, new_attempt=True)


@pytest.mark.parametrize("old", OPEN)
@pytest.mark.parametrize("new", StateType)
def test_what_is_open_goes_anywhere_but_back(old: StateType, new: StateType) -> None:
    if (old, new) == (StateType.RUNNING, StateType.PENDING):
        with pytest.raises(TransitionError, match="it has begun"):
            check_transition(old, new)
        check_transition(old, new, new_attempt=True)
    else:
        check_transition(old, new)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_state_is_made_by_its_name(name: str) -> None:
    made = BY_NAME[name]("why", 5)
    assert (made.name, made.message, made.data) == (name, "why", 5)
    assert isinstance(made, BY_NAME[name])


def test_a_state_may_have_a_name_of_ones_own() -> None:
    """It is known by its type; a name that is not its own refines nothing."""
    made = Cancelled("not needed", name="Skipped")
    assert (made.name, made.message) == ("Skipped", "not needed")
    assert isinstance(made, Cancelled)
    assert not isinstance(made, Completed)
    assert not isinstance(TimedOut(name="TooLate"), TimedOut)
    assert isinstance(TimedOut(name="TooLate"), Failed)
