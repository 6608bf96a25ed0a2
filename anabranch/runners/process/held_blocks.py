"""Blocks of values that lie in files: which there are, and which were released and not removed yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from anabranch.runners.transport.value_files import block_name

if TYPE_CHECKING:
    from anabranch.core.chunks import BlockHandle
    from anabranch.runners.transport.value_files import Store


class HeldBlocks:
    """The blocks of one runner; `add` is for holders of the runner's lock.

    Attributes:
        released: handles that nobody reads any more, also those of other blocks; a finalizer may append to it.
    """

    def __init__(self) -> None:
        self.released: deque[BlockHandle] = deque()
        self._known: set[BlockHandle] = set()

    def add(self, handle: BlockHandle) -> None:
        self._known.add(handle)

    def files_of(self, chunk: int) -> set[str]:
        """Return the names of the chunk's blocks."""
        return {block_name(handle) for handle in list(self._known) if handle.chunk == chunk}

    def let_go(self, store: Store) -> None:
        """Remove the files of released blocks."""
        while self.released:
            try:
                handle = self.released.popleft()
            except IndexError:  # another thread was faster
                return
            if handle in self._known:
                self._known.discard(handle)
                store.unlink((block_name(handle),))
