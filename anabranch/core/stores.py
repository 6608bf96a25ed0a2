"""Where values persist: the contract of result stores."""

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
    """Where values persist, seen alike from driver and workers. Picklable: workers get a copy."""

    @property
    def blocks(self) -> BlockStore | None:
        """Where values lie that have no key of their own; None where each has to have one."""
        ...

    def read(self, key: str) -> Stored | None:
        """The value under `key`, None when there is none or it has expired; raises StoreError."""
        ...

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        """Store durably, return the size in bytes; raises StoreError or SerializationError, leaving nothing."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None: ...

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Try to become the one who computes `key`; True when held. A dead owner's lock lapses."""
        ...

    def unlock(self, key: str, owner: str) -> None: ...


class Written(NamedTuple):
    """What became of the values of a block: its name, and the errors, by slot, of those that it has not."""

    name: str
    failed: Mapping[int, AnabranchError]


class BlockStore(Protocol):
    """Where values of a map persist, many in one file. Picklable. A block is written once and never changed."""

    def write(
        self, place: str, items: Sequence[int], values: Sequence[Any], without: Collection[int] = ()
    ) -> Written:
        """Store values durably, slot n being that of `items[n]`; raises StoreError, leaving nothing."""
        ...

    def items(self, name: str) -> list[int]:
        """Which item each slot is of, [] when there is no such block; raises StoreError."""
        ...

    def read(self, name: str, slots: Sequence[int]) -> list[Stored | None]:
        """Values by reading only their part; None for each that is not there; raises StoreError."""
        ...

    def drop(self, places: Iterable[str]) -> None:
        """Remove all blocks of these places; raises StoreError."""
        ...


class StoreProbe(Protocol):
    """What tells a process whether its copy of a store is the driver's. Picklable."""

    def see(self, store: ResultStore) -> None:
        """Raises StoreError when it is not; costs nothing after the first time in a process."""
        ...

    def remove(self, store: ResultStore) -> None: ...
