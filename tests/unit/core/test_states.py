"""The transition table, and states as a user makes them."""

from __future__ import annotations

import pytest

from anabranch.core.counts import Counts
from anabranch.core.errors import TransitionError
from anabranch.core.states import (
    BY_NAME,
    FIRST_ENDED,
    ITEM_CODES,
    NAMES,
    TERMINAL,
    Cancelled,
    Completed,
    Failed,
    State,
    StateType,
    TimedOut,
    check_transition,
    code_of,
    is_final,
)
from anabranch.engine.attempt import adopt

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


# -- codes ---------------------------------------------------------------------------------------


def test_a_code_is_final_as_its_type_is() -> None:
    assert [is_final(code) for code in range(len(NAMES))] == [kind in TERMINAL for _, kind in NAMES]


def test_a_comparison_tells_which_items_have_ended() -> None:
    """Columns of items are searched by it; no item is in a state behind `ITEM_CODES`."""
    codes = range(ITEM_CODES)
    assert [code >= FIRST_ENDED for code in codes] == [is_final(code) for code in codes]
    assert {name for name, _ in NAMES[ITEM_CODES:]} == {"Late", "Paused", "Cancelling"}


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_an_item_is_never_in_a_state_of_flow_runs(name: str, kind: StateType) -> None:
    assert adopt(State(kind, name)).code < ITEM_CODES


def test_items_are_counted_by_state() -> None:
    counts = Counts(bytes(range(ITEM_CODES)) * 2)
    assert counts.as_dict() == {name: 2 for name, _ in NAMES[:ITEM_CODES]}
    assert counts["RolledBack"] == 2


def test_codes_in_records_stay_what_they_are() -> None:
    known = {"Scheduled": 1, "Running": 5, "Cancelled": 13, "RolledBack": 15, "Late": 16, "Cancelling": 18}
    assert {name: code_of(name, dict(NAMES)[name]) for name in known} == known
