"""The rules by which a flow's return value becomes its final state and its caller's value; a flow may have others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch.engine import final_state
from anabranch.runs.returned import resolve_returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.states import State


@dataclass(frozen=True, slots=True)
class FlowRules:
    """The rules of a flow's end.

    Attributes:
        resolve: from the return value to (the input of `decide`, the value for the caller); reads values, so blocks.
        decide: the final state, as `engine.final_state.decide`.
        cancels_fail: whether the error of another run's cancel, which the function lets through, fails the flow's run;
            else that is cancelled too.
    """

    resolve: Callable[[Any], tuple[Any, Any]] = resolve_returned
    decide: Callable[..., State] = final_state.decide
    cancels_fail: bool = False
