"""Upwards: what became of a run of consecutive positions of one chunk, and their values; see `contracts.py`."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from array import array

    from anabranch.core.runs import StoredRow
    from anabranch.core.spent import Noted


@dataclass(slots=True)
class ErrorInfo:
    """An exception as it travels and is kept: always as text, as an object if it survives pickling; no frames."""

    type_name: str
    message: str
    traceback: str
    pickled: bytes | None = None
    exception: BaseException | None = None  # set where no process border is crossed


@dataclass(slots=True)
class Inline:
    """A block's values as Python objects (same process); failed positions hold None."""

    values: list[Any]
    nbytes: int = 0


@dataclass(slots=True)
class Packed:
    """A block's values, small enough to live in the driver: one pickled list, or one pickle each."""

    data: bytes
    nbytes: int = 0
    ends: array[int] | None = None  # where the pickle of each value ends; None: one list

    def values(self) -> list[Any]:
        """Return all values; raises the exception of the first that does not unpickle."""
        if self.ends is None:
            return pickle.loads(self.data)  # type: ignore[no-any-return]
        return [self.value(slot) for slot in range(len(self.ends))]

    def value(self, slot: int) -> Any:
        """Return one value, where each has a pickle of its own; raises the exception of unpickling it."""
        assert self.ends is not None, "one list is read as a whole"
        return pickle.loads(memoryview(self.data)[self.ends[slot - 1] if slot else 0 : self.ends[slot]])


@dataclass(slots=True)
class Held:
    """A block that the runner keeps; read it with `Runner.fetch`."""

    nbytes: int = 0


Block = Inline | Packed | Held | None


@dataclass(slots=True)
class Outcome:
    """The result of one (stage, position) that did not simply complete."""

    stage: int
    position: int
    code: int  # a code of core.states: FAILED, TIMED_OUT, CACHED, AWAITING_RETRY, CANCELLED, ...
    message: str = ""
    name: str = ""  # a name of the user's own, when a returned or replaced state has one
    error: ErrorInfo | None = None
    delay: float = 0.0  # seconds until the next attempt, with AWAITING_RETRY or AWAITING_CACHE
    cache_key: str = ""
    reason: str = ""  # a code word of core.reasons, where code and error do not tell it


@dataclass(slots=True)
class Report:
    """The results of positions [first, first + count) of a chunk.

    In the happy path `codes` is None (all stages of all positions Completed) and `outcomes` is
    empty. `final` ends the chunk: positions from `first + count` on were not started and go back
    uncounted. `started` and `durations` are microseconds, of stage 0's start (from `base`) and
    of the whole position.
    """

    chunk: int
    first: int
    count: int
    final: bool
    base: float = 0.0  # Unix seconds of the chunk's start, by the worker's clock
    started: array[int] | None = None
    durations: array[int] | None = None
    codes: tuple[bytes, ...] | None = None  # per stage, one code a position
    outcomes: list[Outcome] = field(default_factory=list)
    blocks: tuple[Block, ...] = ()  # per stage
    worker: str = ""
    stored: tuple[str, ...] = ()  # per stage, the stored block in which slot n is position `first + n`; "" for none
    digests: bytes = b""  # of the positions' inputs, `core.keys.DIGEST_BYTES` each, where the stage asks for them
    notes: list[StoredRow] = field(default_factory=list)  # stored inputs of items that failed
    noted: Noted | None = None  # where the worker's own time went
