"""Blocks of values in Ray, as their driver knows them: references, and the nodes on which they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.events import ValuesLost
from anabranch.runners.ray.blocks import STORED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.core.chunks import BlockHandle
    from anabranch.core.events import Event

SMALL_BYTES = 32 << 20  # of blocks too small for Ray's store, in the driver's heap


class Kept(NamedTuple):
    """One block."""

    ref: Any
    node: str
    nbytes: int


class Values:
    """Not locked: for the serve thread. Other threads may `find`."""

    def __init__(self, gone: set[BlockHandle]) -> None:
        self._kept: dict[BlockHandle, Kept] = {}
        self._gone = gone  # released, the serve thread has not come to it
        self._small = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, handle: BlockHandle) -> bool:
        return handle in self._kept

    def find(self, handle: BlockHandle) -> Any:
        """Its reference; None when it was released or lost."""
        found = None if handle in self._gone else self._kept.get(handle)
        return None if found is None else found.ref

    @property
    def small(self) -> bool:
        """Whether there is room for small blocks."""
        return self._small < SMALL_BYTES

    def keep(self, handle: BlockHandle, ref: Any, node: str, nbytes: int) -> None:
        self._kept[handle] = Kept(ref, node, nbytes)
        if nbytes < STORED_BYTES:
            self._small += nbytes

    def release(self, handles: Iterable[BlockHandle]) -> None:
        for handle in handles:
            self._gone.discard(handle)
            found = self._kept.pop(handle, None)
            if found is not None and found.nbytes < STORED_BYTES:
                self._small -= found.nbytes

    def lose(self, handles: Iterable[BlockHandle]) -> list[Event]:
        """These blocks are gone; what there is to say of it."""
        here = [handle for handle in handles if handle in self._kept]
        lost = tuple(handle for handle in here if handle not in self._gone)
        self.release(here)
        return [ValuesLost(lost)] if lost else []

    def lose_nodes(self, gone: set[str], elsewhere: Callable[[list[Any]], list[str]]) -> list[Event]:
        """Nodes are gone: so are their blocks, but for those that the driver has or that another node has copied."""
        there = [(h, k) for h, k in self._kept.items() if k.node in gone and k.nbytes >= STORED_BYTES]
        copies = elsewhere([kept.ref for _, kept in there]) if there else []
        lost = []
        for (handle, kept), node in zip(there, copies, strict=True):
            if node:
                self._kept[handle] = kept._replace(node=node)
            else:
                lost.append(handle)
        return self.lose(lost)

    def clear(self) -> None:
        self._kept.clear()
        self._small = 0
