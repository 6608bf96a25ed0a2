"""The plan of a map: each argument is mapped over, given whole to all items, or known once a future ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anabranch.core.annotations import Annotation, allow_failure, quote, unmapped, unwrap_all
from anabranch.core.asking import is_a, of_class
from anabranch.core.containers import MODEL, kind_of
from anabranch.core.errors import MapError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.params import Binder

Key = int | str  # an argument's position, or its keyword

_WRAPS: dict[str, type[Annotation]] = {"allow_failure": allow_failure, "quote": quote}
_KEPT = (range, tuple)  # immutable: no snapshot needed


class Listed:
    """The elements of a list, kept in something other than a tuple; sized, indexable, sliceable."""


def wrap_each(wrap: str | None, value: Any) -> Any:
    """Return the value under the annotation called `wrap`, bare when that is None."""
    return value if wrap is None else _WRAPS[wrap](value)


@dataclass(slots=True, frozen=True)
class Mapped:
    """An argument that gives one element to each item.

    `iterable` is sized (range, tuple, numpy array; others were listed), an iterator, or a future list (`futures`).
    `wrap` names the annotation to put round each element.
    """

    iterable: Any
    wrap: str | None = None
    futures: bool = False


@dataclass(slots=True, frozen=True)
class Constant:
    """An argument that every item gets whole; futures inside are not resolved yet."""

    value: Any


@dataclass(slots=True, frozen=True)
class LateMapped:
    """A bare future: the elements are known once it has ended."""

    future: Any
    wrap: str | None = None

    def with_value(self, value: Any) -> Any:
        """Return the argument to plan again with, once the future's value is known."""
        return wrap_each(self.wrap, value)


Argument = Mapped | Constant | LateMapped


@dataclass(slots=True, frozen=True)
class MapPlan:
    """A map's arguments in their places; `length` is None while it cannot be known."""

    args: tuple[Argument, ...]
    kwargs: dict[str, Argument]
    length: int | None
    name: str = ""
    labels: dict[Key, str] = field(default_factory=dict)

    @property
    def mapped(self) -> list[tuple[Key, Mapped]]:
        """The mapped arguments, positions first, in the order given."""
        given: list[tuple[Key, Argument]] = [*enumerate(self.args), *self.kwargs.items()]
        return [(key, a) for key, a in given if isinstance(a, Mapped)]

    @property
    def late(self) -> bool:
        """Whether a future has to be waited for before the plan can be made."""
        return any(isinstance(a, LateMapped) for a in (*self.args, *self.kwargs.values()))

    def as_now(self, taken: Callable[[Any], Any]) -> MapPlan:
        """Return the plan with listed elements frozen by `taken`."""

        def one(argument: Argument) -> Argument:
            if not isinstance(argument, Mapped) or argument.futures:
                return argument
            return replace(argument, iterable=taken(argument.iterable))

        return replace(self, args=tuple(map(one, self.args)), kwargs={n: one(a) for n, a in self.kwargs.items()})

    def without_future_lists(self) -> MapPlan:
        """Return the plan without future lists, as a `Source` needs it; labels keep the arguments' places."""
        left = [(key, a) for key, a in self.mapped if not a.futures]
        placed = [(key, a) for key, a in left if isinstance(key, int)]
        kwargs: dict[str, Argument] = {key: a for key, a in left if isinstance(key, str)}
        labels: dict[Key, str] = {n: self.labels[key] for n, (key, _) in enumerate(placed)}
        labels.update((key, self.labels[key]) for key in kwargs)
        length = _agreed(self.name, [(self.labels[key], a) for key, a in left])
        args = tuple(a for _, a in placed)
        return MapPlan(args, kwargs, length, self.name, labels)


def plan_map(
    binder: Binder,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    is_future_list: Callable[[object], bool],
    is_future: Callable[[object], bool],
) -> MapPlan:
    """Plan a map: decide for each argument whether it is mapped over or constant.

    Raises ParameterBindError when the arguments do not fit the function, MapError when no argument is iterable or
    lengths differ.
    """
    args, kwargs = binder.bind(args, kwargs)

    def classify(value: Any) -> Argument:
        return _classify(value, is_future_list, is_future)

    plan_args = tuple(classify(a) for a in args)
    plan_kwargs = {name: classify(a) for name, a in kwargs.items()}
    given: list[tuple[Key, Argument]] = [*enumerate(plan_args), *plan_kwargs.items()]
    labels = {key: binder.label(key) for key, _ in given}
    if all(isinstance(a, Constant) for _, a in given):
        raise _nothing_to_map(binder.fn_name, [(labels[k], a.value) for k, a in given if isinstance(a, Constant)])
    length = _agreed(binder.fn_name, [(labels[k], a) for k, a in given])
    return MapPlan(plan_args, plan_kwargs, length, binder.fn_name, labels)


# -- one argument ------------------------------------------------------------------------------------


def _classify(value: Any, is_future_list: Callable[[object], bool], is_future: Callable[[object], bool]) -> Argument:
    wrap: str | None = None
    inner = value
    while is_a(inner, Annotation):
        if is_a(inner, unmapped):
            while is_a(inner, unmapped):
                inner = inner.value
            return Constant(wrap_each(wrap, inner))
        # Nothing under `quote` is searched, so an inner allow_failure has no effect.
        wrap = "quote" if is_a(inner, quote) or wrap == "quote" else "allow_failure"
        inner = inner.value
    if is_future_list(inner):
        return Mapped(inner, wrap, futures=True)
    if is_future(inner):
        return Constant(value) if wrap == "quote" else LateMapped(inner, wrap)
    if not is_mappable(inner):
        return Constant(value)
    return Mapped(_settled(inner), wrap)


def is_mappable(value: Any) -> bool:
    """Return whether `map` iterates over this: iterable, and not text, bytes, a file or a model."""
    cls: Any = type(value)
    if issubclass(cls, (str, bytes, bytearray, io.IOBase)) or kind_of(cls) == MODEL:  # a model iterates over its fields
        return False
    if of_class(cls, "read") is not None and of_class(cls, "readline") is not None:
        return False  # files of storage clients, which are no IOBase
    if (cls.__module__, cls.__name__) == ("tempfile", "_TemporaryFileWrapper"):
        return False
    try:
        iter(value)
    except TypeError:  # also zero-dimensional arrays, which only look iterable
        return False
    return True


def _settled(iterable: Iterable[Any]) -> Any:
    """Return a sized iterable as an immutable sequence, any other as its iterator."""
    if _is_counted(iterable):
        return iterable
    if is_a(iterable, Iterator) or not _is_sized(iterable):
        return iter(iterable)
    # Listed, not measured: a DataFrame's len() counts rows, but it iterates over columns.
    return tuple(iterable)


def is_array(value: object) -> bool:
    """Whether this is a numpy array; never imports numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and is_a(value, numpy.ndarray)


def _is_counted(value: object) -> bool:
    return type(value) in _KEPT or isinstance(value, Listed) or is_array(value)


def _is_sized(value: Any) -> bool:
    try:
        len(value)
    except Exception:  # the object's own code raised: its elements are asked for below
        return False
    return True


# -- all arguments -----------------------------------------------------------------------------------


def _agreed(name: str, arguments: Sequence[tuple[str, Argument]]) -> int | None:
    """Return the common length; None when one is unsized; raises MapError when known ones differ."""
    lengths = [(label, _length(a)) for label, a in arguments if isinstance(a, Mapped)]
    known = [(label, n) for label, n in lengths if n is not None]
    if len({n for _, n in known}) > 1:
        told = ", ".join(f"{label} has {n}" for label, n in known)
        raise MapError(
            f"{name}.map: arguments differ in length: {told}; give all the same length, or wrap in unmapped(...) what "
            "every item is to get whole"
        )
    late = any(isinstance(a, LateMapped) for _, a in arguments)
    return None if late or len(known) < len(lengths) or not known else known[0][1]


def _length(argument: Mapped) -> int | None:
    if not argument.futures:
        return len(argument.iterable) if _is_counted(argument.iterable) else None
    # len() of a future list waits for an unsized input to end; its progress does not.
    total: int | None = argument.iterable.progress[1]
    return total


def _nothing_to_map(name: str, constants: list[tuple[str, Any]]) -> MapError:
    if not constants:
        return MapError(f"{name}.map was given no arguments: pass at least one iterable, or use {name}.submit()")
    told = ", ".join(f"{label} is {_described(value)}" for label, value in constants)
    return MapError(
        f"{name}.map has nothing to map over: {told}; pass at least one iterable (list(...) makes one of a text), or "
        f"use {name}.submit(...) for a single run"
    )


def _described(value: Any) -> str:
    kind = type(unwrap_all(value)).__qualname__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    return f"{article} {kind}"
