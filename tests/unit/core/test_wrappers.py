"""Objects of the standard library that pickles leave out: by value where their module travels, else by name."""

from __future__ import annotations

import functools
import pickle
import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.own_code import pickler

if TYPE_CHECKING:
    import pytest

_ByValue = pickler(cloudpickle.Pickler)


def again(value: Any) -> Any:
    return pickle.loads(_ByValue.dumps(value))


@functools.lru_cache(maxsize=3, typed=True)
def known_here(x: int) -> int:
    return x + 1


def local_cache() -> Any:
    @functools.lru_cache(maxsize=7)
    def fib(n: int) -> int:
        return n if n < 2 else int(fib(n - 1) + fib(n - 2))

    return fib


def test_cache_of_a_function_within_another() -> None:
    made = again(local_cache())
    assert made(30) == 832040
    assert made.cache_parameters() == {"maxsize": 7, "typed": False}
    assert made.cache_info().currsize == 7, "it calls itself through its cache"


def test_cache_that_can_be_imported_goes_by_its_name() -> None:
    assert again(known_here) is known_here


def test_cache_of_a_module_that_travels_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_here, "__module__", "__main__")
    made = again(known_here)
    assert made is not known_here
    assert (made(1), made.cache_parameters()) == (2, {"maxsize": 3, "typed": True})


def test_single_dispatch() -> None:
    @functools.singledispatch
    def show(x: object) -> str:
        return "other"

    @show.register
    def _(x: int) -> str:
        return "int"

    show(1)  # its cache has an entry
    made = again(show)
    assert [made(1), made(True), made("x")] == ["int", "int", "other"]


def test_cached_property_of_a_local_class() -> None:
    class Local:
        @functools.cached_property
        def seven(self) -> int:
            return 7

    assert again(Local)().seven == 7


def test_weak_collections_and_views() -> None:
    keys = weakref.WeakKeyDictionary({int: "int"})
    values = weakref.WeakValueDictionary({"int": int})
    assert dict(again(keys)) == {int: "int"}
    assert dict(again(values)) == {"int": int}
    assert set(again(weakref.WeakSet([int]))) == {int}
    assert again(MappingProxyType({"a": 1})) == {"a": 1}
