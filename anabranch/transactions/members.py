"""Submitted runs and maps as members of a transaction; their hooks are called in the program, wherever they ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import name_of
from anabranch.core.states import State, is_success
from anabranch.engine.steps import Call
from anabranch.transactions import ends

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from anabranch.core.transactions import Run, Work
    from anabranch.engine.steps import Step


class Submitted:
    """A future, or a future list: the runs of it that completed are committed, or undone, one by one.

    Args:
        part: makes the transaction that the hooks of one run get.
    """

    is_given_up = False  # a commit hook that fails raises

    def __init__(self, task: Work, future: Any, part: Callable[[Run], ends.Txn]) -> None:
        self._task, self._future, self._part = task, future, part
        self._over = False

    def ended(self) -> Generator[Step, Any, str | None]:
        found = yield Call(self._future.wait, blocking=True)
        for one in [found] if isinstance(found, State) else found.unsuccessful():
            if not is_success(one.code):
                return f"a run of {self._task.name!r} has ended as {one.name}"
        return None

    def committed(self) -> Generator[Step, Any, bool]:
        hooks = self._task.options.on_commit
        for part in (yield from self._parts(hooks, "commit")) if hooks else ():
            yield from ends.hooks_called(part, hooks, "commit", told=False)
        self._over = True
        return True

    def rolled_back(self) -> Generator[Step, Any, bool]:
        if self._over:
            return False
        self._over = True
        for part in reversed((yield from self._parts(self._task.options.on_rollback, "rollback"))):
            yield from ends.rolled_back(part)
        return True

    def _parts(self, hooks: Sequence[Callable[..., Any]], kind: str) -> Generator[Step, Any, list[ends.Txn]]:
        """Wait for the end, and return the transactions of the runs that completed."""
        found = yield Call(self._future.wait, blocking=True)
        states = [found] if isinstance(found, State) else found
        parts = [self._part(_run_of(state)) for state in states if is_success(state.code)]
        for part in parts:
            part.is_told = False
        if hooks and parts:
            names = ", ".join(repr(name_of(hook)) for hook in hooks)
            ends.log.info("Running %s hook %s for %d runs of %r", kind, names, len(parts), self._task.name)
        return parts


class NotBegun:
    """A call that did not begin, because an input had failed: it has done nothing, and lets nothing be committed."""

    is_given_up = False

    def __init__(self, task: Work) -> None:
        self._name = task.name

    def ended(self) -> Generator[Step, Any, str | None]:
        yield from ()
        return f"a call of {self._name!r} did not begin, because an input had failed"

    def committed(self) -> Generator[Step, Any, bool]:
        yield from ()
        return False

    def rolled_back(self) -> Generator[Step, Any, bool]:
        yield from ()
        return False


@dataclass(frozen=True)
class _Place:
    map_id: str
    index: int
    attempt: int


def _run_of(state: State) -> Run:
    place, _, index = state.run_id.rpartition("/")
    return _Place(place, int(index), state.attempt)
