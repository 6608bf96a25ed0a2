"""The value of anything that stands for a run: a state, a future, a future list."""

from __future__ import annotations

from typing import Any

from anabranch.core.asking import is_a
from anabranch.core.states import State


def outcome(given: Any, raise_on_failure: bool = True) -> Any:
    """Return the value as `result` does; of a State in the same way whatever a subclass makes of `result`."""
    if is_a(given, State):
        return State.result(given, raise_on_failure)
    return given.result(raise_on_failure=raise_on_failure)
