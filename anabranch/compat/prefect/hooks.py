"""Hooks, retry conditions and key functions of Prefect's users, called with runs and states as Prefect has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.run_states import State
from anabranch.compat.prefect.runs import view
from anabranch.engine.hooks import name_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Hook:
    """A function of the user's as the engine calls it: `(task or flow, run, state)`."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.__name__ = name_of(fn)

    def __call__(self, obj: Any, run: Any, state: Any) -> Any:
        seen = State.of(state)
        return self.fn(obj, view(run, seen), seen)


def checked(hooks: Any, kind: str, field: str) -> list[Callable[..., Any]]:
    """Return the hooks of one kind as a list.

    Args:
        kind: "Task" or "Flow", for errors.
        field: such as "on_failure".

    Raises TypeError for anything but a list of functions.
    """
    if hooks is None:
        return []
    if not isinstance(hooks, Iterable) or isinstance(hooks, str):
        raise TypeError(
            f"Expected iterable for '{field}'; got {type(hooks).__name__} instead. Please provide a list of hooks to "
            f"'{field}':\n\n@{kind.lower()}({field}=[hook1, hook2])\ndef my_{kind.lower()}():\n\tpass"
        )
    found = list(hooks)
    for hook in found:
        if not callable(hook):
            raise TypeError(
                f"Expected callables in '{field}'; got {type(hook).__name__} instead. Please provide a list of hooks "
                f"to '{field}':\n\n@{kind.lower()}({field}=[hook1, hook2])\ndef my_{kind.lower()}():\n\tpass"
            )
    return found


def engine_hooks(hooks: list[Callable[..., Any]]) -> tuple[Hook, ...]:
    """Return hooks in the form for the engine."""
    return tuple(hook if isinstance(hook, Hook) else Hook(hook) for hook in hooks)
