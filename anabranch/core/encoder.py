"""Values as pickles: plainly where that says everything, else by value, their large buffers apart if asked for."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from anabranch.core.own_code import MAIN, pickler

if TYPE_CHECKING:
    from collections.abc import Callable

_MAIN = MAIN.encode()


class Encoder:
    """How one kind of reader is given values.

    Plain pickle is several times faster than cloudpickle and says the same, but for what lives in `__main__` or in
    modules registered to travel by value, which only cloudpickle takes along.

    Args:
        base: cloudpickle's pickler.
        kept: for what is read by a later program, which imports the modules that are registered here.
    """

    def __init__(self, base: Any, *, kept: bool = False) -> None:
        self._by_value = pickler(base, kept=kept)
        registry = sys.modules[base.__module__]
        self._registered: Callable[[], object] = bool if kept else registry.list_registry_pickle_by_value

    def dumps(self, value: Any, buffers: list[memoryview] | None = None, least: int = 0) -> bytes:
        """Pickle a value; raises what its pickling raises.

        Args:
            buffers: takes those of `least` bytes and more, as views of the value's own memory.
        """
        aside = None if buffers is None else apart(buffers, least)
        if not self._registered():
            try:
                data = pickle.dumps(value, 5, buffer_callback=aside)
                if _MAIN not in data:
                    return data
            except Exception:  # cloudpickle may know how
                pass
            if buffers:
                buffers.clear()
        return self.by_value(value, aside)

    def by_value(self, value: Any, aside: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
        """Pickle a value with what it takes of `__main__`; that is the script's own again where it comes home."""
        return self._by_value.dumps(value, aside)  # type: ignore[no-any-return]


def apart(buffers: list[memoryview], least: int) -> Callable[[pickle.PickleBuffer], bool]:
    """Takes buffers of `least` bytes and more out of a pickle, into the list."""

    def inside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < least:
            return True
        buffers.append(raw)
        return False

    return inside
