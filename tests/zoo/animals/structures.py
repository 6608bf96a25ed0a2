"""Structures: rings, deep ones, and the containers of the standard library."""

from __future__ import annotations

import argparse
import collections
import types
from typing import Any

from tests.zoo.animals.keeper import Keeper, text


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


def _namespace() -> types.SimpleNamespace:
    return types.SimpleNamespace(a=1, b=[2])


def _defaults() -> Any:
    found: Any = collections.defaultdict(list)
    found["k"].append(1)
    return found


ANIMALS: dict[str, Keeper] = {
    "list in itself": Keeper(_loop, lambda one: f"{one[0]} {one[1] is one}"),
    "ring of dicts": Keeper(_ring, lambda one: str(one["second"]["first"] is one)),
    "object in itself": Keeper(Node, lambda one: f"{one.n} {one.me is one}"),
    "deep list": Keeper(lambda: _deep(200), _depth),
    "namespace": Keeper(_namespace, text),
    "parsed arguments": Keeper(lambda: argparse.Namespace(a=1), text),
    "user dict": Keeper(lambda: collections.UserDict({"a": 1}), text),
    "deque": Keeper(lambda: collections.deque([1, 2], maxlen=2), text),
    "ordered dict": Keeper(lambda: collections.OrderedDict(b=1, a=2), text),
    "default dict": Keeper(_defaults, text),
    "counter": Keeper(lambda: collections.Counter("aab"), text),
    "chain map": Keeper(lambda: collections.ChainMap({"a": 1}, {"b": 2}), lambda one: str(sorted(one.items()))),
    "mapping proxy": Keeper(lambda: types.MappingProxyType({"a": 1}), text),
    "dict keys": Keeper(lambda: {"a": 1}.keys(), lambda one: str(list(one))),
    "frozen set": Keeper(lambda: frozenset({1}), text),
    "range": Keeper(lambda: range(3), text),
    "slice": Keeper(lambda: slice(1, 2), text),
}
