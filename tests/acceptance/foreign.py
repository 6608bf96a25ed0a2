"""Objects of other people: they make up attributes, lie about what they are, raise whatever they are asked."""

from __future__ import annotations

import argparse
import types
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock
from xmlrpc.client import ServerProxy

import numpy as np

from anabranch.core.futures import Future
from anabranch.core.states import State

if TYPE_CHECKING:
    from collections.abc import Callable


class Box(dict[str, Any]):
    """A dict whose keys are attributes, and missing ones are made."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.setdefault(name, Box())


class Anything:
    """Has every attribute, and each of them has every one again: as SQL builders and remote objects do."""

    def __init__(self, way: str = "") -> None:
        self.__dict__["way"] = way

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Anything(f"{self.way}.{name}")

    def __call__(self, *args: Any) -> Any:
        return Anything(f"{self.way}()")


class Proxy:
    """Says that it is what it stands for, and has what that has."""

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "_wrapped", wrapped)

    def __getattribute__(self, name: str) -> Any:
        wrapped = object.__getattribute__(self, "_wrapped")
        if name == "__reduce_ex__":
            return lambda protocol: (Proxy, (wrapped,))
        return type(wrapped) if name == "__class__" else getattr(wrapped, name)


def _raises(*args: Any, **kwargs: Any) -> Any:
    raise LookupError("asked for what it does not tell")


class Hostile:
    """Raises, whatever it is asked."""

    __eq__ = __bool__ = __len__ = __iter__ = __repr__ = __str__ = __sizeof__ = __getattr__ = __contains__ = _raises
    __hash__ = _raises  # type: ignore[assignment]
    nbytes = property(_raises)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Hostile, ()


class Nonsense:
    """Answers, and nothing of it is true."""

    nbytes = -(10**12)
    __anabranch_future__ = __iter__ = gi_frame = send = result = None

    def __sizeof__(self) -> int:
        return -5

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> Any:
        return 5


class Bytes:
    """Has a size in bytes, of a kind that is none."""

    def __init__(self, nbytes: Any) -> None:
        self.nbytes = nbytes


class Lazy:
    """Would have to be computed to know its size."""

    @property
    def nbytes(self) -> int:
        raise NotImplementedError("compute it first")


MAKERS: dict[str, Callable[[], Any]] = {
    "mock": MagicMock,
    "plain mock": Mock,
    "async mock": AsyncMock,
    "mock of a future": lambda: MagicMock(spec=Future),
    "mock of a state": lambda: MagicMock(spec=State),
    "mock of an exception": lambda: Mock(spec=ValueError),
    "mock of a generator": lambda: Mock(spec=types.GeneratorType),
    "mock of a list": lambda: Mock(spec=list),
    "box": lambda: Box(a=1, b=2),
    "anything": Anything,
    "proxy of a number": lambda: Proxy(5),
    "proxy of a list": lambda: Proxy([1, 2]),
    "proxy of a generator": lambda: Proxy(ServerProxy),
    "server": lambda: ServerProxy("http://127.0.0.1:9/"),
    "hostile": Hostile,
    "nonsense": Nonsense,
    "nbytes nan": lambda: Bytes(float("nan")),
    "nbytes text": lambda: Bytes("12"),
    "nbytes negative": lambda: Bytes(-(10**12)),
    "lazy": Lazy,
    "objects": lambda: np.array([1, "two", None], dtype=object),
    "several": lambda: np.arange(3),
    "namespace": lambda: argparse.Namespace(a=1),
}
# What refuses to be pickled stays where it was made.
APART = sorted(name for name in MAKERS if "mock" not in name and name != "server")


def make(name: str) -> Any:
    return MAKERS[name]()
