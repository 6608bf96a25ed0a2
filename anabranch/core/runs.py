"""What is known of runs: plain rows that records store and queries give back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence


@dataclass(slots=True)
class FlowRunRow:
    """A flow run; written when it is created and again at each of its transitions."""

    id: str
    flow: str
    name: str
    state: int  # a code of core.states
    state_name: str = ""
    message: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    attempt: int = 0
    parent_run: str = ""  # flow run or task run ("map/index") that called it
    version: str = ""
    runner: str = ""
    tags: tuple[str, ...] = ()
    parameters: str = ""  # JSON text, values that JSON lacks as "<TypeName>"
    pid: int = 0  # of the driver
    pid_started: float = 0.0  # when that process began: a pid alone may be reused
    host: str = ""
    heartbeat: float = 0.0


@dataclass(slots=True)
class MapRow:
    """One map, or one series of single submits or calls of a task in a flow run."""

    id: str
    flow_run: str
    task: str
    kind: str  # "map", "submit", "call"
    length: int | None  # None: unsized and not yet exhausted
    created: float = 0.0
    ended: float | None = None
    counts: dict[str, int] = field(default_factory=dict)  # by state name, kept up as reports come
    parent: str = ""
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class ItemBlock:
    """Final states of consecutive items of a map, as columns; `codes` None: all Completed."""

    map: str
    first: int
    count: int
    codes: bytes | None = None
    base: float = 0.0
    started: array[int] | None = None  # microseconds from base
    durations: array[int] | None = None  # microseconds
    attempt: int = 1
    worker: str = ""


@dataclass(slots=True)
class ItemRow:
    """One item that did not go the happy way (failed, retried, cached by name, ...) or a single run."""

    map: str
    index: int
    attempt: int
    state: int
    state_name: str = ""
    name: str = ""
    message: str = ""
    started: float | None = None
    ended: float | None = None
    worker: str = ""
    error_type: str = ""
    error_text: str = ""  # traceback


@dataclass(slots=True)
class TransitionRow:
    """A state change of a flow run (index -1, run id) or of one item (map id, index)."""

    run: str
    index: int
    attempt: int
    state: int
    state_name: str
    message: str
    when: float


@dataclass(slots=True)
class LogRow:
    when: float
    level: int
    logger: str
    message: str
    flow_run: str
    map: str = ""
    index: int = -1


@dataclass(slots=True)
class HeartbeatRow:
    flow_run: str
    when: float


Row = FlowRunRow | MapRow | ItemBlock | ItemRow | TransitionRow | LogRow | HeartbeatRow


@dataclass(slots=True)
class ItemView:
    """One item as queries give it back, whatever way it was stored."""

    index: int
    state: str
    attempt: int
    started: float | None
    duration: float | None
    worker: str = ""
    message: str = ""
    error_type: str = ""
    error_text: str = ""
    name: str = ""


class Records(Protocol):
    """What is remembered of runs. `append` never blocks on the database and never raises for it."""

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows to be written by the one writer, in order, in a commit at most 50 ms away."""
        ...

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all rows appended before are committed; False when that took too long."""
        ...

    def close(self) -> None: ...

    def flow_runs(self, *, limit: int = 50, state: str | None = None, flow: str | None = None) -> list[FlowRunRow]:
        """Newest first."""
        ...

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        """By id, unique prefix of an id, or (newest of that) name."""
        ...

    def maps(self, flow_run: str) -> list[MapRow]: ...

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        ...

    def failures(self, flow_run: str, *, limit: int = 20) -> list[tuple[str, str, str, int, int]]:
        """Grouped: (task, error type, message, count, index of the first), most frequent first."""
        ...

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]: ...

    def logs(self, flow_run: str, *, limit: int = 1000, level: int = 0) -> list[LogRow]: ...

    def request_cancel(self, flow_run: str) -> bool:
        """Note that the run is to be cancelled; its driver sees it within a second."""
        ...

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]: ...

    def mark_dead(self) -> list[str]:
        """Mark runs whose driver is gone (same host: pid and start time; else stale heartbeat) Crashed."""
        ...


def json_parameters(parameters: dict[str, Any]) -> str:
    """Parameters as JSON text for the record; never fails, cuts at 10,000 characters a value."""
    def plain(value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return value if len(value) <= 10_000 else value[:10_000] + "..."
        if isinstance(value, (list, tuple)) and len(value) <= 100:
            return [plain(v) for v in value]
        if isinstance(value, dict) and len(value) <= 100:
            return {str(k): plain(v) for k, v in value.items()}
        return f"<{type(value).__name__}>"

    return json.dumps({name: plain(value) for name, value in parameters.items()})
