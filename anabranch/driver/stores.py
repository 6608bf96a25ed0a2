"""The result store of a program, made when first needed, and the probe by which workers check that they see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.stores import ResultStore, StoreProbe


class Stores:
    """The result store of one session.

    Args:
        make: makes the store of the settings; raises StoreError.
        make_probe: makes a probe of it.
        in_process: returns whether the workers of a lane are threads of this process.
    """

    def __init__(
        self, make: Callable[[], ResultStore], make_probe: Callable[[ResultStore], StoreProbe],
        in_process: Callable[[int], bool],
    ) -> None:  # fmt: skip
        self._make = make
        self._make_probe = make_probe
        self._in_process = in_process
        self._store: ResultStore | None = None
        self._probe: StoreProbe | None = None

    def store(self) -> ResultStore:
        """The result store."""
        if self._store is None:
            self._store = self._make()
        return self._store

    def for_lane(self, lane: int) -> tuple[ResultStore, StoreProbe | None]:
        """Return the result store, and for workers outside this process the probe by which they check it."""
        store = self.store()
        if self._in_process(lane):
            return store, None
        if self._probe is None:
            self._probe = self._make_probe(store)
        return store, self._probe

    def close(self) -> None:
        """Remove the probe's value from the store."""
        if self._probe is not None:
            self._probe.remove(self.store())
