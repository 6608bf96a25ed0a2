"""One attempt with a cache or a store: values that are looked up, made under a lock, and stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.errors import StoreError
from anabranch.core.stores import Stored
from anabranch.engine import attempt as module
from tests.unit.engine.trying import Try, fails

if TYPE_CHECKING:
    from collections.abc import Callable


class Shelf:
    """A store in memory that notes what it is asked."""

    def __init__(self, **values: Any) -> None:
        self.values: dict[str, Any] = values
        self.log: list[str] = []
        self.holder: str | None = None
        self.broken: dict[str, Exception] = {}
        self.before_lock: Callable[[], Any] = lambda: None

    def _asked(self, verb: str, key: str) -> None:
        self.log.append(f"{verb} {key}")
        if verb in self.broken:
            raise self.broken[verb]

    def read(self, key: str) -> Stored | None:
        self._asked("read", key)
        return Stored(self.values[key], 0.0) if key in self.values else None

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        self._asked("write", key)
        self.values[key] = value
        return 1

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        self._asked("lock", key)
        self.before_lock()
        if self.holder is None:
            self.holder = owner
        return self.holder == owner

    def unlock(self, key: str, owner: str) -> None:
        self._asked("unlock", key)
        assert self.holder == owner
        self.holder = None


def cached(fn: Callable[..., Any], shelf: Shelf, **options: Any) -> Try:
    return Try(fn, store=shelf, cache_key_fn=lambda context, parameters: "k", **options)


def test_a_value_that_is_not_there_is_made_under_a_lock_and_stored() -> None:
    shelf = Shelf()
    result = cached(lambda: 5, shelf).end()
    assert (result.code, result.value, result.cache_key) == (states.COMPLETED, 5, "k")
    assert shelf.log == ["read k", "lock k", "read k", "write k", "unlock k"]


def test_a_value_that_is_there_is_not_made() -> None:
    shelf = Shelf(k=5)
    result = cached(fails, shelf).end()
    assert (result.code, result.value, result.cache_key) == (states.CACHED, 5, "k")
    assert shelf.log == ["read k"]


def test_a_value_that_came_while_it_was_waited_for_is_not_made() -> None:
    shelf = Shelf()
    shelf.before_lock = lambda: shelf.values.update(k=7)
    result = cached(fails, shelf).end()
    assert (result.code, result.value) == (states.CACHED, 7)
    assert shelf.holder is None


def test_who_is_not_the_first_waits_without_a_slot() -> None:
    shelf = Shelf()
    shelf.holder = "somebody"
    result = cached(fails, shelf).end()
    assert (result.code, result.delay) == (states.AWAITING_CACHE, module.CACHE_POLL_SECONDS)
    assert shelf.holder == "somebody"


def test_a_refresh_makes_it_again() -> None:
    shelf = Shelf(k=5)
    assert cached(lambda: 6, shelf, refresh_cache=True).end().value == 6
    assert shelf.values == {"k": 6}
    assert shelf.log == ["lock k", "write k", "unlock k"]


def test_a_failure_is_not_stored_and_lets_the_lock_go() -> None:
    shelf = Shelf()
    assert cached(fails, shelf).name() == "Failed"
    assert (shelf.values, shelf.holder) == ({}, None)


def test_a_store_that_cannot_be_read_is_a_miss_that_is_told() -> None:
    shelf = Shelf(k=5)
    shelf.broken["read"] = StoreError("torn")
    one = cached(lambda: 6, shelf)
    assert one.end().value == 6
    assert set(one.warned) == {"the cached value could not be read, so the task runs: torn"}


def test_a_value_that_cannot_be_stored_fails_the_run() -> None:
    shelf = Shelf()
    shelf.broken["write"] = StoreError("full")
    result = cached(lambda: 6, shelf, retries=0).end()
    assert (result.code, result.message) == (states.FAILED, "its result could not be stored: full")
    assert (result.reason, shelf.holder) == ("result-store", None)


def test_a_key_that_cannot_be_made_is_told_and_costs_nothing_else() -> None:
    shelf = Shelf()

    def no_key(context: Any, parameters: Any) -> str:
        raise KeyError("x")

    one = Try(lambda: 6, store=shelf, cache_key_fn=no_key)
    assert one.end().value == 6
    assert shelf.log == []
    assert one.warned == ["not cached: cache_key_fn 'no_key' raised KeyError: 'x'"]


def test_a_result_that_is_kept_lies_under_its_own_run() -> None:
    shelf = Shelf()
    result = Try(lambda: 6, store=shelf, persist_result=True).end()
    assert (result.value, shelf.values) == (6, {"run/map-1/3": 6})
    shelf = Shelf()
    assert Try(lambda: 6, store=shelf, persist_result=True, world={"packed": True}).end().value == 6
    assert shelf.log == [], "it is stored with others'"


def test_nothing_is_stored_that_is_not_to_be() -> None:
    shelf = Shelf()
    assert cached(lambda: 6, shelf, persist_result=False).end().value == 6
    assert shelf.log == []
