"""The contract of result stores, where values persist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from anabranch.core.errors import AnabranchError


@dataclass(slots=True)
class Stored:
    """A value read from a result store."""

    value: Any
    created: float
    expires: float | None = None


class ResultStore(Protocol):
    """A store of values, the same for driver and workers. Picklable: workers get a copy."""

    @property
    def blocks(self) -> BlockStore | None:
        """Return the store for blocks of values without keys; None where each value needs a key."""
        ...

    def read(self, key: str) -> Stored | None:
        """Return the value under `key`, None when there is none or it has expired; raises StoreError."""
        ...

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        """Store durably, return the size in bytes; raises StoreError or SerializationError, leaving nothing."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None: ...

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Try to take the lock on computing `key`; True when held. A dead owner's lock lapses."""
        ...

    def unlock(self, key: str, owner: str) -> None: ...


class Written(NamedTuple):
    """The result of writing a block: its name, and by slot the errors of the values that it lacks."""

    name: str
    failed: Mapping[int, AnabranchError]


class BlockStore(Protocol):
    """A store of a map's values, many in one file. Picklable. A block is written once and never changed."""

    def write(
        self, place: str, items: Sequence[int], values: Sequence[Any], without: Collection[int] = ()
    ) -> Written:
        """Store values durably, slot n being that of `items[n]`; raises StoreError, leaving nothing."""
        ...

    def items(self, name: str) -> list[int]:
        """Return the item of each slot, [] when there is no such block; raises StoreError."""
        ...

    def read(self, name: str, slots: Sequence[int]) -> list[Stored | None]:
        """Return values by reading only their part; None for each missing one; raises StoreError."""
        ...

    def drop(self, places: Iterable[str]) -> None:
        """Remove all blocks of these places; raises StoreError."""
        ...


class StoreProbe(Protocol):
    """A check whether a process sees the driver's store. Picklable."""

    def see(self, store: ResultStore) -> None:
        """Raise StoreError when this process sees another store; free after the first call in a process."""
        ...

    def remove(self, store: ResultStore) -> None: ...
