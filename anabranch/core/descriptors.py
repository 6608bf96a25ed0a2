"""How a function stands in a class: what it is under a `classmethod` and the like, and to what it is bound when read.

A task or flow in the body of a class does what its plain function would do there.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal, Self

from anabranch.core.annotations import quote
from anabranch.core.asking import attribute

if TYPE_CHECKING:
    from collections.abc import Callable

Binds = Literal["instance", "class", "nothing"]  # what reading it gives the function as its first argument

CHAINS = sys.version_info < (3, 13)  # whether a builtin classmethod reads what it holds, as any class attribute is


def opened(fn: Any) -> tuple[Any, Binds]:
    """The function itself, and to what reading it from an instance or a class binds it."""
    if isinstance(fn, classmethod):
        return fn.__func__, "class"
    if isinstance(fn, staticmethod):
        return fn.__func__, "nothing"
    if isinstance(fn, functools.partialmethod) and isinstance(fn.func, FunctionType):
        return fn.__get__(None, object), "instance"
    if isinstance(fn, FunctionType):
        return fn, "instance"
    # As Python has it: a builtin, a class, a callable object or a method of another object is not bound.
    binds = hasattr(type(fn), "__get__") and attribute(fn, "__self__") is None
    return fn, "instance" if binds else "nothing"


def owner_of(binds: Binds, instance: Any, kind: type | None) -> Any:
    """What becomes the first argument where a class's attribute is read; None: nothing does."""
    if binds == "class":
        return kind if kind is not None else type(instance)
    return instance if binds == "instance" else None


def under_classmethod(value: object) -> bool:
    """Whether a builtin classmethod holds this object; looks through all objects there are."""
    return any(type(holder) is classmethod for holder in gc.get_referrers(value))


class Bound:
    """A task or flow that was read from its owner: an instance, or the class.

    Calls and submits of it are those of the whole, with the owner as the first argument, as it is. It costs
    nothing to make, so each reading makes one; two of one owner are equal, as methods are. `.fn` is the plain
    bound method.
    """

    def __init__(self, whole: Any, owner: Any) -> None:
        self.__func__ = whole
        self.__self__ = owner
        self.fn: Any = MethodType(whole.plain_fn, owner)
        self.__doc__ = whole.__doc__
        self.__module__ = whole.__module__

    if not TYPE_CHECKING:  # to type checkers it has what the whole has

        def __getattr__(self, name: str) -> Any:
            if name == "__func__":  # not there yet, or no more
                raise AttributeError(name)
            return inspect.signature(self.fn) if name == "__signature__" else getattr(self.__func__, name)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(quote(self.__self__), *args, **kwargs)

    def submit(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.__func__.submit(quote(self.__self__), *args, **kwargs)

    def with_options(self, **given: Any) -> Self:
        return type(self)(self.__func__.with_options(**given), self.__self__)

    def _hook(self, name: str, hook: Callable[..., Any]) -> Any:
        return self.__func__._hook(name, hook)  # for the runs of every owner

    def __get__(self, instance: Any, kind: type | None = None) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self.__self__ is other.__self__ and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__func__))

    def __reduce__(self) -> Any:
        return (type(self), (self.__func__, self.__self__))

    def __repr__(self) -> str:
        owner = self.__self__
        whose = f"class {owner.__qualname__}" if isinstance(owner, type) else f"a {type(owner).__qualname__}"
        return f"{repr(self.__func__)[:-1]} of {whose}>"
