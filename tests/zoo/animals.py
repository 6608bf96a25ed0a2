"""Awkward objects, and what is right for each: how to make one, how to know it again, whether it can leave its process.

A keeper is data: tests put what it makes into every position that a value can have. `tell` says what is seen of an
object in plain text; a run is right when the text is the same wherever it is said.
"""

from __future__ import annotations

import argparse
import collections
import contextvars
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import math
import operator
import os
import re
import threading
import types
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from unittest import mock
from xmlrpc.client import ServerProxy

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import wrapt
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable

_SINK = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
FOREVER = 300.0  # seconds: longer than any test may take


@dataclasses.dataclass(frozen=True)
class Keeper:
    """How an awkward object is made and known again.

    Attributes:
        make: makes a new one.
        tell: what is seen of one, as text; it must not ask what the object refuses.
        travels: whether a copy can be made in another process.
        answers: whether asking it for its text comes to an end; Python itself never gets past such an object in an
            exception's message, so there it is carried by one that has words of its own.
    """

    make: Callable[[], Any]
    tell: Callable[[Any], str]
    travels: bool = True
    answers: bool = True


def _kind(one: Any) -> str:
    return type(one).__name__


def _text(one: Any) -> str:
    return f"{type(one).__name__} {one!r}"


# -- what makes up its attributes -----------------------------------------------------------------


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


# -- what answers questions wrongly ---------------------------------------------------------------


def _no(what: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f"{what} is not to be asked")

    return refuse


def _block(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    threading.Event().wait(FOREVER)
    raise RuntimeError("asked, and waited for")


class NoEquality:
    __eq__ = _no("__eq__")
    __hash__ = object.__hash__


class NoTruth:
    __bool__ = _no("__bool__")


class NoHash:
    __hash__ = _no("__hash__")  # type: ignore[assignment]


class NoLength:
    __len__ = _no("__len__")


class NoItems:
    __iter__ = _no("__iter__")
    __len__ = _no("__len__")
    __getitem__ = _no("__getitem__")


class NoText:
    __repr__ = __str__ = __format__ = _no("__repr__")


class NoSize:
    __sizeof__ = _no("__sizeof__")
    nbytes = property(_no("nbytes"))
    size = property(_no("size"))


class NoEnd:
    __del__ = _no("__del__")


class StrangeSize:
    nbytes = -(10**12)

    def __sizeof__(self) -> int:
        return -5


class StrangeAnswers:
    """Each answer is of a type that nobody expects, or raises where Python checks it."""

    nbytes = float("nan")
    shape = "round"
    dtype = 7

    def __len__(self) -> int:
        return -1

    def __eq__(self, other: object) -> Any:
        return NoTruth()

    def __hash__(self) -> int:
        return hash("x")


class BlockingText:
    __repr__ = __str__ = _block


class BlockingEquality:
    __eq__ = _block
    __hash__ = object.__hash__


class BlockingTruth:
    __bool__ = __len__ = _block


# -- records of all kinds -------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    x: int


@attrs.define
class Defined:
    x: int
    y: dict[str, int]


@attrs.frozen(slots=False)
class DefinedFrozen:
    x: int


class Model(pydantic.BaseModel):
    x: int
    _hidden: list[int] = pydantic.PrivateAttr(default_factory=lambda: [7])


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int = 2


class OldSlots:
    __slots__ = ("missing", "x")

    def __init__(self) -> None:
        self.x = 3


class Counted(list[int]):
    """A list with an attribute of its own."""

    label = "none"


# -- exceptions, as values ------------------------------------------------------------------------


class TwoArguments(Exception):
    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


class Coded(Exception):
    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class Reduced(Exception):
    def __init__(self, a: int, b: int) -> None:
        self.a, self.b = a, b

    def __reduce__(self) -> Any:
        return Reduced, (self.a, self.b)


# -- makers ---------------------------------------------------------------------------------------


def _frames() -> pd.DataFrame:
    return pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])


def _category() -> pd.Series:
    return pd.Series(["u", "v", "u"], dtype="category")


def _zoned() -> pd.DataFrame:
    when = pd.date_range("2026-03-29", periods=3, freq="h", tz="Europe/Berlin")
    return pd.DataFrame({"t": when, "x": [1.0, math.nan, 3.0]})


def _readonly() -> np.ndarray:
    array = np.arange(4)
    array.flags.writeable = False
    return array


def _loop() -> list[Any]:
    one: list[Any] = [1]
    one.append(one)
    return one


def _ring() -> dict[str, Any]:
    first: dict[str, Any] = {}
    second = {"first": first}
    first["second"] = second
    return first


class Node:
    def __init__(self) -> None:
        self.me = self
        self.n = 4


def _deep(levels: int) -> list[Any]:
    one: list[Any] = []
    for _ in range(levels):
        one = [one]
    return one


def _depth(one: Any) -> str:
    n = 0
    while one:
        one, n = one[0], n + 1
    return str(n)


def _generator() -> Any:
    yield from (1, 2, 3)


def _delayed() -> Any:
    import dask

    return dask.delayed(operator.add)(2, 3)


def _dask_array() -> Any:
    import dask.array

    return dask.array.ones((4, 4), chunks=2)


def _dask_frame() -> Any:
    import dask.dataframe

    return dask.dataframe.from_pandas(pd.DataFrame({"x": range(4)}), npartitions=2)


def _computed(one: Any) -> str:
    return f"{type(one).__name__} {one.sum().compute(scheduler='sync')}"


def _scaled(k: int) -> Callable[[int], int]:
    def scale(x: int) -> int:
        return x * k

    return scale


def _frame_text(one: Any) -> str:
    return f"{list(one.columns)} {one.dtypes.to_list()} {one.to_numpy().tolist()}"


def _array_text(one: Any) -> str:
    return f"{type(one).__name__} {one.dtype} {one.shape} {one.flags.writeable} {one.tolist()}"


def _values(one: Any) -> str:
    return f"{type(one).__name__} {one.dtype} {one.tolist()}"


def _referent() -> Any:
    return weakref.ref(Colour)  # what it points to stays


def _raising(error: BaseException) -> Callable[[], BaseException]:
    return lambda: error


def _namespace() -> types.SimpleNamespace:
    return types.SimpleNamespace(a=1, b=[2])


def _defaults() -> Any:
    found: Any = collections.defaultdict(list)
    found["k"].append(1)
    return found


def _counted() -> Counted:
    one = Counted([1, 2])
    one.label = "mine"
    return one


ZOO: dict[str, Keeper] = {
    # what makes up its attributes
    "magic mock": Keeper(mock.MagicMock, _kind, travels=False),
    "mock of a list": Keeper(lambda: mock.Mock(spec=list), _kind, travels=False),
    "async mock": Keeper(mock.AsyncMock, _kind, travels=False),
    "box": Keeper(lambda: Box(a=1, b=Box(c=2)), lambda one: f"{_kind(one)} {dict(one)}"),
    "anything": Keeper(Anything, _kind),
    "delegate": Keeper(Delegate, _kind),
    "locked": Keeper(Locked, _kind, travels=False),
    "liar": Keeper(Liar, _kind, travels=False),
    "nobody": Keeper(Nobody, _kind, travels=False),
    "xmlrpc proxy": Keeper(lambda: ServerProxy("http://127.0.0.1:9"), _kind, travels=False),
    "wrapt proxy": Keeper(lambda: wrapt.ObjectProxy([1, 2]), lambda one: f"{_kind(one)} {list(one)}", travels=False),
    # what answers questions wrongly
    "no equality": Keeper(NoEquality, _kind),
    "no truth": Keeper(NoTruth, _kind),
    "no hash": Keeper(NoHash, _kind),
    "no length": Keeper(NoLength, _kind),
    "no items": Keeper(NoItems, _kind),
    "no text": Keeper(NoText, _kind),
    "no size": Keeper(NoSize, _kind),
    "strange size": Keeper(StrangeSize, _kind),
    "strange answers": Keeper(StrangeAnswers, _kind),
    "blocking text": Keeper(BlockingText, _kind, answers=False),
    "blocking equality": Keeper(BlockingEquality, _kind),
    "blocking truth": Keeper(BlockingTruth, _kind),
    # lazy frames
    "dask delayed": Keeper(_delayed, lambda one: f"{_kind(one)} {one.compute(scheduler='sync')}"),
    "dask array": Keeper(_dask_array, _computed),
    "dask frame": Keeper(_dask_frame, lambda one: f"{_kind(one)} {one.x.sum().compute(scheduler='sync')}"),
    "polars frame": Keeper(lambda: pl.DataFrame({"x": [1, 2]}), lambda one: f"{_kind(one)} {one.to_dicts()}"),
    "polars lazy": Keeper(lambda: pl.LazyFrame({"x": [1, 2]}), lambda one: f"{_kind(one)} {one.collect().to_dicts()}"),
    "xarray": Keeper(
        lambda: xr.Dataset({"v": ("t", [1.0, 2.0])}, coords={"t": [0, 1]}), lambda one: str(one.to_dict()["data_vars"])
    ),
    # arrays and tables
    "array of objects": Keeper(lambda: np.array([None, "x", [1]], dtype=object), _values),
    "array of no dimension": Keeper(lambda: np.array(3), _values),
    "empty array": Keeper(lambda: np.empty((0, 3)), _values),
    "structured array": Keeper(lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), _values),
    "big-endian array": Keeper(lambda: np.arange(3, dtype=">i4"), _values),
    "fortran array": Keeper(lambda: np.asfortranarray(np.arange(6).reshape(2, 3)), _values),
    "strided array": Keeper(lambda: np.arange(10)[::3], _values),
    "masked array": Keeper(lambda: np.ma.masked_array([1, 2], mask=[False, True]), lambda one: f"{_kind(one)} {one}"),
    "read-only array": Keeper(_readonly, _values),
    "numpy scalar": Keeper(lambda: np.float32(1.5), _text),
    "not a time": Keeper(lambda: np.datetime64("NaT"), _text),
    "frame with one name twice": Keeper(_frames, _frame_text),
    "categories": Keeper(_category, lambda one: f"{one.dtype} {one.tolist()}"),
    "time zones": Keeper(_zoned, lambda one: f"{one.dtypes.to_list()} {one.t.astype(str).to_list()}"),
    "arrow table": Keeper(lambda: pa.table({"x": [1, None]}), lambda one: f"{_kind(one)} {one.to_pylist()}"),
    # records
    "slotted": Keeper(lambda: Slotted(1, [2]), _text),
    "frozen": Keeper(lambda: Frozen(1), _text),
    "attrs": Keeper(lambda: Defined(1, {"a": 2}), _text),
    "attrs frozen": Keeper(lambda: DefinedFrozen(1), _text),
    "model": Keeper(lambda: Model(x=1), lambda one: f"{_text(one)} {one._hidden}"),
    "enum": Keeper(lambda: Colour.RED, lambda one: f"{_text(one)} {one is Colour.RED}"),
    "flag": Keeper(lambda: Access.READ | Access.WRITE, _text),
    "enum as a key": Keeper(lambda: {Colour.RED: 1}, lambda one: str(one[Colour.RED])),
    "named tuple": Keeper(lambda: Point(1), _text),
    "slots, one empty": Keeper(OldSlots, lambda one: f"{_kind(one)} {one.x} {hasattr(one, 'missing')}"),
    "list with a label": Keeper(_counted, lambda one: f"{_text(one)} {one.label}"),
    # exceptions, as values
    "exception of two arguments": Keeper(lambda: Coded("bad", code=5), lambda one: f"{_text(one)} {one.code}", False),
    "wordless exception": Keeper(Wordless, _kind),
    "reduced exception": Keeper(lambda: Reduced(1, 2), lambda one: f"{_kind(one)} {one.a} {one.b}"),
    "group": Keeper(lambda: ExceptionGroup("two", [ValueError("a"), KeyError("b")]), _text),
    "exception": Keeper(_raising(ValueError("a value, not a failure")), _text),
    # what is bound to its process
    "weak reference": Keeper(_referent, _kind, travels=False),
    "lock": Keeper(threading.Lock, _kind, travels=False),
    "event": Keeper(threading.Event, _kind, travels=False),
    "open file": Keeper(lambda: _SINK, _kind, travels=False),
    "context variable": Keeper(lambda: contextvars.ContextVar("v"), _kind, travels=False),
    "thread-local": Keeper(threading.local, _kind, travels=False),
    # code
    "module": Keeper(lambda: math, lambda one: one.__name__),
    "class": Keeper(lambda: Colour, lambda one: one.__name__),
    "function": Keeper(lambda: _kind, lambda one: one(3)),
    "lambda": Keeper(lambda: lambda x: x + 1, lambda one: str(one(3))),
    "closure": Keeper(lambda: _scaled(4), lambda one: str(one(3))),
    "partial": Keeper(lambda: functools.partial(_scaled(4), 5), lambda one: str(one())),
    "bound method": Keeper(lambda: [3, 1, 2].index, lambda one: str(one(1))),
    "builtin": Keeper(lambda: len, lambda one: str(one("abc"))),
    "ufunc": Keeper(lambda: np.add, lambda one: str(one(1, 2))),
    "pattern": Keeper(lambda: re.compile("a+"), lambda one: one.pattern),
    # structures
    "list in itself": Keeper(_loop, lambda one: f"{one[0]} {one[1] is one}"),
    "ring of dicts": Keeper(_ring, lambda one: str(one["second"]["first"] is one)),
    "object in itself": Keeper(Node, lambda one: f"{one.n} {one.me is one}"),
    "deep list": Keeper(lambda: _deep(200), _depth),
    "namespace": Keeper(_namespace, _text),
    "parsed arguments": Keeper(lambda: argparse.Namespace(a=1), _text),
    "user dict": Keeper(lambda: collections.UserDict({"a": 1}), _text),
    "deque": Keeper(lambda: collections.deque([1, 2], maxlen=2), _text),
    "ordered dict": Keeper(lambda: collections.OrderedDict(b=1, a=2), _text),
    "default dict": Keeper(_defaults, _text),
    "counter": Keeper(lambda: collections.Counter("aab"), _text),
    "chain map": Keeper(lambda: collections.ChainMap({"a": 1}, {"b": 2}), lambda one: str(sorted(one.items()))),
    "mapping proxy": Keeper(lambda: types.MappingProxyType({"a": 1}), _text),
    "dict keys": Keeper(lambda: {"a": 1}.keys(), lambda one: str(list(one))),
    "frozen set": Keeper(lambda: frozenset({1}), _text),
    "range": Keeper(lambda: range(3), _text),
    "slice": Keeper(lambda: slice(1, 2), _text),
    # plain, and odd
    "none": Keeper(lambda: None, _text),
    "ellipsis": Keeper(lambda: ..., _text),
    "not implemented": Keeper(lambda: NotImplemented, _text),
    "huge number": Keeper(lambda: 1 << 40_000, lambda one: f"{one.bit_length()} {one & 1}"),
    "not a number": Keeper(lambda: math.nan, _text),
    "minus zero": Keeper(lambda: -0.0, _text),
    "surrogates": Keeper(lambda: "a\ud800b", ascii),
    "zero bytes": Keeper(lambda: "a\0b", ascii),
    "text of another kind": Keeper(lambda: type("Text", (str,), {})("x"), lambda one: f"{_kind(one)} {one}"),
    "bytes": Keeper(lambda: b"\xff\0", _text),
    "byte array": Keeper(lambda: bytearray(b"ab"), _text),
    "memory view": Keeper(lambda: memoryview(b"ab"), lambda one: str(bytes(one))),
    "buffer": Keeper(lambda: io.BytesIO(b"ab"), lambda one: str(one.getvalue())),
    "decimal": Keeper(lambda: decimal.Decimal("NaN"), _text),
    "a time, folded": Keeper(lambda: datetime.datetime(2026, 10, 25, 2, 30, fold=1), _text),
    "a time in a zone": Keeper(lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), _text),
}
