"""Futures in containers: a container keeps its type around the values."""

from __future__ import annotations

import argparse
import collections
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import ParameterBindError

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 60.0


@task
def same(x: Any) -> Any:
    return x


@dataclass
class Data:
    x: Any
    more: list[Any] = field(default_factory=list)


class Attrs(argparse.Namespace):
    pass


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "deque": lambda f: collections.deque([f, 2], maxlen=3),
    "namespace": lambda f: types.SimpleNamespace(a=f, b=[f]),
    "parsed": lambda f: argparse.Namespace(a=f),
    "own namespace": lambda f: Attrs(a={"b": f}),
    "user dict": lambda f: collections.UserDict({"a": f}),
    "user list": lambda f: collections.UserList([f, 1]),
    "chain map": lambda f: collections.ChainMap({"a": f}, {"b": 1}),
    "ordered": lambda f: collections.OrderedDict([("b", f), ("a", 1)]),
    "default": lambda f: collections.defaultdict(list, a=f),
    "counter": lambda f: collections.Counter({"a": f}),
    "view": lambda f: dict(types.MappingProxyType({"a": f})),
    "data": lambda f: Data(f, [f]),
    "deep": lambda f: {"a": [(f, {"b": collections.deque([f])})]},
}


def words(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
@pytest.mark.parametrize("way", ["call", "submit", "map", "returned", "flow"])
def test_a_container_keeps_its_type_round_the_values(concurrent: str, kind: str, way: str) -> None:
    make = CONTAINERS[kind]

    @task
    def returns() -> Any:
        return make(same.submit(5))

    @flow
    def gives() -> Any:
        return make(same.submit(5))

    @flow
    def main() -> str:
        if way == "returned":
            return words(returns.submit().result(WAIT))
        if way == "flow":
            return words(gives())
        given = make(same.submit(5))
        if way == "call":
            return words(same(given))
        return words(same.submit(given).result(WAIT) if way == "submit" else same.map([given]).result(WAIT)[0])

    assert main() == words(make(5))


def test_a_view_of_a_dict_keeps_its_type(threads: str) -> None:
    got = same.submit(types.MappingProxyType({"a": same.submit(5)})).result(WAIT)
    assert type(got) is types.MappingProxyType
    assert got == {"a": 5}


def test_classes_of_attrs_are_searched(threads: str) -> None:
    attrs = pytest.importorskip("attrs")

    @attrs.frozen
    class Frozen:
        x: Any
        y: Any = None

    @attrs.define
    class Defined:
        x: Any

    assert same.submit(Frozen(same.submit(5), [same.submit(6)])).result(WAIT) == Frozen(5, [6])
    assert same.submit(Defined(same.submit(5))).result(WAIT) == Defined(5)


class Counting(dict[str, Any]):
    """Does not say what it holds."""

    def values(self) -> Any:
        raise LookupError("not to be asked")

    __iter__ = keys = items = values  # type: ignore[assignment]


def test_a_dict_that_does_not_say_what_it_holds_is_none_of_our_business(threads: str) -> None:
    given = Counting(a=1)
    assert same.submit(given).result(WAIT) is given
    with pytest.raises(ParameterBindError, match="cannot be copied"):
        same.submit(Counting(a=same.submit(5)))


class Uncopied(list[Any]):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise LookupError("not to be copied")


def test_an_object_that_cannot_be_copied_is_an_error_that_says_so(threads: str) -> None:
    with pytest.raises(ParameterBindError, match="cannot be copied"):
        same.submit(Uncopied([same.submit(5)]))
