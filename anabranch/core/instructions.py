"""Instructions: the dispatcher returns them in order, and the pump carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.log_lines import LogLine
    from anabranch.core.maps import MapRun, Upstream
    from anabranch.core.reasons import Reason
    from anabranch.core.reports import ErrorInfo
    from anabranch.core.runs import Row
    from anabranch.core.stored_call import KeptCall
    from anabranch.core.value_index import ValueBlock


@dataclass(slots=True)
class Put:
    lane: int
    ref: int
    value: Any
    context: Context | None = None  # of the submit: its context variables go along


@dataclass(slots=True)
class Drop:
    lane: int
    refs: tuple[int, ...]


@dataclass(slots=True)
class Send:
    lane: int
    chunks: list[Chunk]


@dataclass(slots=True)
class Shorten:
    lane: int
    chunk: int
    keep: int


@dataclass(slots=True)
class CancelChunk:
    lane: int
    chunk: int
    positions: tuple[int, ...] | None
    force: bool


@dataclass(slots=True)
class Free:
    lane: int
    handles: list[BlockHandle]


@dataclass(slots=True)
class Spill:
    """Move a block from memory to disk; answer with `Dispatcher.spilled`, or `spill_failed`."""

    map: MapRun
    block: ValueBlock


@dataclass(slots=True)
class Move:
    """Copy the living values of a block to a block of their own; answer with `Dispatcher.moved`, if it worked."""

    map: MapRun
    block: ValueBlock
    items: list[int]
    to: BlockHandle


@dataclass(slots=True)
class NearEnd:
    """The known end of the allocation has come, or nothing that waits can end before it: the flow runs are to end."""

    why: str


@dataclass(slots=True)
class WantSlots:
    """A map waits for a shared limit: read which (`Dispatcher.look_at_limits`), and ask the record for slots."""


@dataclass(slots=True)
class Pull:
    """Take up to `count` more elements from the map's iterator, on a feeder thread."""

    map: MapRun
    count: int


@dataclass(slots=True)
class Resolve:
    """Bring the values of the map's constants here; answer with `Dispatcher.constants_ready`."""

    map: MapRun


@dataclass(slots=True)
class AskRetry:
    """Ask the user's `retry_condition_fn` and handlers after a time-out; answer with `Timeouts.retry_answered`."""

    map: MapRun
    index: int
    delay: float
    message: str


@dataclass(slots=True)
class AskHandlers:
    """Ask the user's state handlers about an end decided in the driver; answer with `Board.handlers_answered`."""

    map: MapRun
    index: int
    code: int
    message: str
    error: ErrorInfo | None
    reason: Reason | None = None


@dataclass(slots=True)
class KeepInput:
    """Store the inputs of a failed item: its worker cannot, because it is gone or stuck.

    `given` is the item's argument, or the part of it that comes from no other run; the rest comes from `upstreams`.
    """

    map: MapRun
    index: int
    given: Any
    upstreams: tuple[Upstream, ...]
    call: KeptCall


@dataclass(slots=True)
class Verdict:
    """The state that an item ends in (or, with AWAITING_RETRY, begins again in) after its handlers have answered."""

    code: int
    message: str = ""
    name: str = ""  # a state name of the user's own
    value: Any = None
    error: ErrorInfo | None = None
    delay: float = 0.0


@dataclass(slots=True)
class RunHooks:
    """Call the hooks of an end decided in the driver (trigger, lost, cancelled)."""

    map: MapRun
    index: int
    code: int
    message: str
    value: Any = None
    given: Any = None  # `engine.known_inputs.Given`


@dataclass(slots=True)
class Rows:
    rows: list[Row]


@dataclass(slots=True)
class EmitLogs:
    lines: list[LogLine]
    dropped: int


@dataclass(slots=True)
class Wake:
    calls: list[Callable[[], None]]


Instruction = (
    Put | Drop | Send | Shorten | CancelChunk | Free | Spill | Move | Pull | Resolve | AskRetry | AskHandlers | RunHooks
    | KeepInput | Rows | EmitLogs | Wake | WantSlots | NearEnd
)
