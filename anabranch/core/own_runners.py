"""Runners as users hold them: the `with` block, in which submits go there, and the end of one that nobody can reach.

A session keeps a twin of a user's runner at work, which shares all of its state and is not the user's object. So it
sees when that one has gone, with every flow, future and variable that held it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_around: ContextVar[tuple[OwnRunner, ...]] = ContextVar("anabranch_runners", default=())


class OwnRunner:
    """What runners have in common that users make.

    Around code outside of flows, ``with ThreadRunner(4):`` makes submits and maps go to this runner, and it is the
    default of flows that are called there. The block waits for what was submitted in it, or cancels it where it is
    left by an exception, and closes the runner.
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

    def on_leaving(self, call: Callable[[bool], object]) -> None:
        """Have it called as the block is left, before the runner closes, with whether an exception left it."""
        self._leaving = (*self._leaving, call)

    def twin(self) -> Self:
        """Another object that is the same runner, for who keeps it at work."""
        other = object.__new__(type(self))
        other.__dict__ = self.__dict__
        return other

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        raise NotImplementedError


def around() -> OwnRunner | None:
    """The runner of the innermost `with` block around this code."""
    found = _around.get()
    return found[-1] if found else None


def outside() -> None:
    """From here on this context is in no such block."""
    _around.set(())
