"""Runners that users make: the `with` block, in which submits go to the runner, and the end of an unreachable one.

A session works with a twin of the user's runner, which shares all of its state and is another object. So it notices
when the user's object is gone, with every flow, future and variable that held it.
"""

from __future__ import annotations

import importlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Self

from anabranch.core.showing import Facts, Shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

_around: ContextVar[tuple[OwnRunner, ...]] = ContextVar("anabranch_runners", default=())


class OwnRunner(Shown):
    """The common base of runners that users make.

    Around code outside of flows, ``with ThreadRunner(4):`` makes submits and maps go to this runner, and it is the
    default of flows that are called there. The end of the block waits for the runs that were submitted in it, or
    cancels them after an exception, and closes the runner.
    """

    _leaving: tuple[Callable[[bool], object], ...] = ()

    def __enter__(self) -> Self:
        _around.set((*_around.get(), self))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        _around.set(tuple(one for one in _around.get() if one is not self))
        leaving, self._leaving = self._leaving, ()
        try:
            for leave in leaving:
                leave(kind is not None)
        finally:
            self.close()

    def executor(
        self, *, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = (),
        chunk: int | Literal["auto"] = "auto",
    ) -> Executor:  # fmt: skip
        """Return a `concurrent.futures.Executor` on this runner, for code that takes one.

        See `anabranch.integrations.Executor`.

        Args:
            initializer: called with `initargs` on each worker before its first call.
            chunk: calls that travel together to a worker in another process; "auto" measures.
        """
        made: Any = importlib.import_module("anabranch.integrations.executor")
        found: Executor = made.Executor(self, initializer=initializer, initargs=initargs, chunk=chunk)
        return found

    def on_leaving(self, call: Callable[[bool], object]) -> None:
        """Call this at the end of the block, before the runner closes, with whether an exception ended the block."""
        self._leaving = (*self._leaving, call)

    def twin(self) -> Self:
        """Return another object with the same state, for the session to work with."""
        other = object.__new__(type(self))
        other.__dict__ = self.__dict__
        return other

    def facts(self) -> Facts:
        """Return what a notebook shows of it: as far as this process knows, without asking an engine."""
        return Facts(type(self).__name__)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        raise NotImplementedError


def around() -> OwnRunner | None:
    """Return the runner of the innermost `with` block around this code."""
    found = _around.get()
    return found[-1] if found else None


def outside() -> None:
    """Leave all such blocks in this context, for good."""
    _around.set(())
