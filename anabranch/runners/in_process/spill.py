"""Values of this process that left its memory: what inline and thread runners keep on disk.

Blocks go to the driver as objects. When it has too many of them it hands some back, to lie in a file
until they are read again (each value by itself) or released.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.culprits import unpicklable
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.core.reports import Held, Inline
from anabranch.core.value_index import RELEASED
from anabranch.runners.transport.value_files import Store, block_name, pickled, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.chunks import BlockHandle
    from anabranch.core.reports import Block
    from anabranch.runners.transport.value_files import Block as File


class _Gone:
    """Lies in the place of a value that was released before its block was written."""

    def __reduce__(self) -> Any:
        return _gone, ()


def _gone() -> None:
    raise ResultReleased("the value was released with its last reader; keep its future while you need it")


class LocalSpill:
    """The spilled blocks of one runner; its folder is made with the first of them."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._closed = False

    def spill(self, handle: BlockHandle, block: Block) -> Held:
        """Write a block of objects; see `contracts.SpillingRunner`."""
        assert isinstance(block, Inline)
        parts = []
        for slot, value in enumerate(list(block.values)):
            try:
                parts.append(pickled(_Gone() if value is RELEASED else value))
            except Exception as error:
                raise unpicklable(value, error, refused, f"value {slot} of {block_name(handle)}") from error
        return self._write(handle, parts)

    def move(self, handle: BlockHandle, slots: Sequence[int], to: BlockHandle) -> Held:
        with self.open(handle) as file:
            return self._write(to, [file.raw(slot) for slot in slots])

    def _write(self, handle: BlockHandle, parts: list[Any]) -> Held:
        with self._lock:
            if self._closed:
                raise RunnerError("the runner is closed")
            try:
                if self._store is None:
                    self._store = Store.create(memory=False)
                return Held(self._store.write(block_name(handle), parts))
            except OSError as error:
                raise RunnerError(f"values could not be moved to the temporary folder: {error}") from error

    def open(self, handle: BlockHandle) -> File:
        """Raises ResultReleased when the block is not here."""
        if self._store is None:
            raise ResultReleased(f"no value of {block_name(handle)} was moved to disk by this runner")
        return self._store.open(block_name(handle))

    def fetch(self, handle: BlockHandle, slots: Sequence[int]) -> list[Any]:
        with self.open(handle) as file:
            return file.load_many(slots)

    def release(self, handles: Iterable[BlockHandle]) -> None:
        if self._store is not None:
            self._store.unlink(block_name(handle) for handle in handles)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._store is not None:
                self._store.remove()
