"""Pickles of what a task on a worker sends to its driver: tasks, and arguments with futures in them."""

from __future__ import annotations

import hashlib
import weakref
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.annotations import allow_failure
from anabranch.core.containers import ITERATOR, kind_of
from anabranch.core.future_lists import FutureList, is_future
from anabranch.core.futures import Future
from anabranch.core.own_code import pickler
from anabranch.core.walk import fill, lift
from anabranch.worker.remote_maps import RemoteMapRun

if TYPE_CHECKING:
    import io

    from anabranch.core.runnable import Runnable

_ByValue = pickler(cloudpickle.Pickler)
_pickled: weakref.WeakKeyDictionary[Any, tuple[bytes, bytes]] = weakref.WeakKeyDictionary()


class NestedPickler(_ByValue):  # type: ignore[misc, valid-type]
    """A pickler that sends futures as references, for which the driver puts its own."""

    def __init__(self, file: io.BytesIO, gave: dict[int, list[Any]]) -> None:
        super().__init__(file, 5)
        self._gave = gave

    def persistent_id(self, value: Any) -> Any:
        if type(value) in (Future, FutureList) and isinstance(value._map, RemoteMapRun):
            return (value._map.id, getattr(value, "_index", None))
        return None

    def reducer_override(self, value: Any) -> Any:
        """Pickle a finite iterator over futures as its elements."""
        cls: Any = type(value)
        if kind_of(cls) == ITERATOR and id(value) not in self._gave:
            lifted, found = lift(value, is_future)
            if found:
                self._gave[id(value)] = [*fill(lifted, [allow_failure(f) if allow else f for f, allow in found])]
        if id(value) in self._gave:
            return iter, (self._gave[id(value)],)
        return super().reducer_override(value)


def pickle_of(task: Runnable) -> tuple[bytes, bytes]:
    """Return a task's digest, by which the driver recognises it, and its pickle."""
    found = _pickled.get(task)
    if found is None:
        data = _ByValue.dumps(task)
        found = _pickled[task] = (hashlib.blake2b(data, digest_size=16).digest(), data)
    return found
