"""Objects that make up their attributes, or refuse them."""

from __future__ import annotations

from typing import Any
from unittest import mock
from xmlrpc.client import ServerProxy

import wrapt

from tests.zoo.animals.keeper import Keeper, kind


class Box(dict[str, Any]):
    """Keys are attributes; a missing one is made."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.setdefault(name, Box())


class Anything:
    """Has each attribute that it is asked for, special names too; each of them can be called."""

    def __getattr__(self, name: str) -> Any:
        if name in ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__", "__deepcopy__", "__copy__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *args: Any, **kwargs: Any) -> Anything:
        return Anything()


class Delegate:
    """Hands each question to an object that is not there yet: KeyError where AttributeError belongs."""

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["inner"][name]


class Locked:
    """Answers no attribute at all, except for what pickle needs."""

    def __init__(self) -> None:
        object.__setattr__(self, "n", 5)

    def __getattribute__(self, name: str) -> Any:
        if name in ("__reduce_ex__", "__reduce__", "__class__", "__dict__", "__getstate__"):
            return object.__getattribute__(self, name)
        raise PermissionError(f"{name} is not told")


class Liar:
    """Says that it is a list."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        return list


class Nobody:
    """Does not say what it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("it has no class today")


ANIMALS: dict[str, Keeper] = {
    "magic mock": Keeper(mock.MagicMock, kind, travels=False),
    "mock of a list": Keeper(lambda: mock.Mock(spec=list), kind, travels=False),
    "async mock": Keeper(mock.AsyncMock, kind, travels=False),
    "box": Keeper(lambda: Box(a=1, b=Box(c=2)), lambda one: f"{kind(one)} {dict(one)}"),
    "anything": Keeper(Anything, kind),
    "delegate": Keeper(Delegate, kind),
    "locked": Keeper(Locked, kind, travels=False),
    "liar": Keeper(Liar, kind, travels=False),
    "nobody": Keeper(Nobody, kind, travels=False),
    "xmlrpc proxy": Keeper(lambda: ServerProxy("http://127.0.0.1:9"), kind, travels=False),
    "wrapt proxy": Keeper(lambda: wrapt.ObjectProxy([1, 2]), lambda one: f"{kind(one)} {list(one)}", travels=False),
}
