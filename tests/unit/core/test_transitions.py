"""The transition table: who may follow whom."""

from __future__ import annotations

import pytest

from anabranch.core.errors import TransitionError
from anabranch.core.states import TERMINAL, StateType, check_transition

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
