"""Type variables of the public face. Their defaults let `Task`, `Future` or `State` stand alone in an annotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

Q = ParamSpec("Q")  # what is left to take once a method has its instance
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])  # a hook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import typing_extensions as typed

    Items = Iterator[T] | AsyncIterator[T]  # what a generator function gives

    P = typed.ParamSpec("P", default=...)  # what a function takes
    R_co = typed.TypeVar("R_co", covariant=True, default=Any)  # what a call gives; of futures and states, a run's value
else:
    P = ParamSpec("P")
    R_co = TypeVar("R_co", covariant=True)
