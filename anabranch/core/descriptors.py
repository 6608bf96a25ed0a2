"""Functions in a class: the one under a `classmethod` and the like, and the object it is bound to when it is read.

A task or flow in the body of a class behaves as its plain function would there.
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

Binds = Literal["instance", "class", "nothing"]  # the function's first argument once it is read

CHAINS = sys.version_info < (3, 13)  # whether a builtin classmethod calls `__get__` of the object that it holds


def opened(fn: Any) -> tuple[Any, Binds]:
    """Return the function itself, and the kind of object that reading it binds it to."""
    if isinstance(fn, classmethod):
        return fn.__func__, "class"
    if isinstance(fn, staticmethod):
        return fn.__func__, "nothing"
    if isinstance(fn, functools.partialmethod) and isinstance(fn.func, FunctionType):
        return fn.__get__(None, object), "instance"
    if isinstance(fn, FunctionType):
        return fn, "instance"
    # As in Python: a builtin, a class, a callable object or a method of another object is not bound.
    binds = hasattr(type(fn), "__get__") and attribute(fn, "__self__") is None
    return fn, "instance" if binds else "nothing"


def owner_of(binds: Binds, instance: Any, kind: type | None) -> Any:
    """Return the first argument that reading an attribute of a class binds; None: no argument."""
    if binds == "class":
        return kind if kind is not None else type(instance)
    return instance if binds == "instance" else None


def under_classmethod(value: object) -> bool:
    """Return whether a builtin classmethod holds this object; searches all objects of the process."""
    return any(type(holder) is classmethod for holder in gc.get_referrers(value))


class Bound:
    """A task or flow that was read from its owner: an instance, or the class.

    Its calls and submits are those of the task or flow, with the owner as the first argument. Each reading makes a new
    one, which costs nothing. Two of one owner are equal, as methods are. `.fn` is the plain bound method.
    """

    def __init__(self, whole: Any, owner: Any) -> None:
        self.__func__ = whole
        self.__self__ = owner
        self.fn: Any = MethodType(whole.plain_fn, owner)
        self.__doc__ = whole.__doc__
        self.__module__ = whole.__module__

    if not TYPE_CHECKING:  # type checkers see the attributes of the task or flow

        def __getattr__(self, name: str) -> Any:
            if name == "__func__":  # not set yet, or deleted
                raise AttributeError(name)
            return inspect.signature(self.fn) if name == "__signature__" else getattr(self.__func__, name)

        def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
            return self.__func__(quote(self.__self__), *args, **kwargs)

        def submit(self, /, *args: Any, **kwargs: Any) -> Any:
            return self.__func__.submit(quote(self.__self__), *args, **kwargs)

        def with_options(self, **given: Any) -> Self:
            return type(self)(self.__func__.with_options(**given), self.__self__)

        def __get__(self, instance: Any, kind: type | None = None) -> Self:
            return self

    def _hook(self, name: str, hook: Callable[..., Any]) -> Any:
        return self.__func__._hook(name, hook)  # holds for the runs of every owner

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
