"""The rules by which a flow's return value becomes its final state and its caller's value; a flow may have others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch.core.terminated import Terminated
from anabranch.core.validate import validate_call
from anabranch.engine import final_state
from anabranch.runs.returned import resolve_returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.states import State


def told(number: int, message: str) -> Terminated:
    """Return what is raised in a flow's function at a signal."""
    return Terminated(message)


@dataclass(frozen=True, slots=True)
class FlowRules:
    """The rules of a flow's end.

    Attributes:
        resolve: from the return value to (the input of `decide`, the value for the caller); reads values, so blocks.
        decide: the final state, as `engine.final_state.decide`.
        cancels_fail: whether the error of another run's cancel, which the function lets through, fails the flow's run;
            else that is cancelled too.
        validate: from (function, arguments, keyword arguments, the flow's name) to validated arguments.
        told: the exception that a flow's function in the main thread gets for a signal with this number, other than
            Ctrl-C; a `Terminated`.
        leaves: the exception that then leaves an outermost run, and ends the program with this exit code.
    """

    resolve: Callable[[Any], tuple[Any, Any]] = resolve_returned
    decide: Callable[..., State] = final_state.decide
    cancels_fail: bool = False
    validate: Callable[[Any, tuple[Any, ...], dict[str, Any], str], tuple[tuple[Any, ...], dict[str, Any]]] = (
        validate_call
    )
    told: Callable[[int, str], Terminated] = told
    leaves: Callable[[int], BaseException] = SystemExit
