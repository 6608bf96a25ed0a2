"""Rows of the record, which records store and queries return, and the contract of records."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from anabranch.core.asking import text
from anabranch.core.states import is_final

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

    from anabranch.core.limits import LimitStore
    from anabranch.core.spent import Numbers

JOB = "job "  # begins the host of a run that waits for a job to start its driver
CODE = "code"  # kind of a flow run's stored row; its name is the digest of the code that a driver of it has fetched
_DEEPEST = 16  # recorded levels of nested parameters: a parameter may contain itself
_LONGEST_INT = 4096  # bits; longer integers are not written in digits


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
    parameters: str = ""  # JSON text; values of other types as "<TypeName>"
    pid: int = 0  # of the driver
    pid_started: float = 0.0  # the start of that process: a pid alone may be reused
    host: str = ""  # `core.processes.host_id` of the driver; or, while a job is to start it, JOB and the job's name
    heartbeat: float = 0.0
    resumable: bool = False
    run_key: str = ""  # the user's, or that of a subflow's call
    entry: str = ""  # of the flow: "file:name", or "folder/module:name"
    token: int = 0  # one higher with each driver that takes the run over: rows of earlier ones are refused
    incarnation: str = ""  # of the job that the driver is in, see `core.incarnations`

    @property
    def job(self) -> str:
        """The name of the job that the run waits for; "" once it has a driver."""
        return self.host.removeprefix(JOB) if not self.pid and self.host.startswith(JOB) else ""

    @property
    def ended_unbegun(self) -> bool:
        """Whether the run has ended before its job began it: the job is not to begin it any more."""
        return is_final(self.state) and bool(self.job)


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
    call_key: str = ""  # of the call that made it: path, task, inputs, occurrence; in resumable runs only
    code: str = ""  # hash of the task's source
    superseded: str = ""  # id of the series that took its place when the run was resumed
    upstreams: tuple[str, ...] = ()  # ids of the maps that it reads or waits for
    slots: int = 0  # of its runner; 0: unknown
    account: dict[str, float] = field(default_factory=dict)  # bytes of values made, most, released, spilled; seconds
    # of recording: how long the driver waited for the record


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
    spent: Numbers | None = None  # of slots (`core.spent.Spent`), by the chunks of these items and of items before them


@dataclass(slots=True)
class ItemRow:
    """One item off the happy path (failed, retried, cached by name, ...) or a single run."""

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
    reason: str = ""  # a code word of core.reasons
    details: str = ""  # of the reason, as JSON text


@dataclass(slots=True)
class StoredRow:
    """Completed items with their values in one block of the result store; written by resumable runs.

    Attributes:
        kind: "value", or "input" for the inputs of items that failed.
        name: of the block; "" when no value is kept.
        slots: the slot of each item's value in the block.
        digests: of the items' inputs, `core.keys.DIGEST_BYTES` each; b"" where they follow from other items.
    """

    map: str
    name: str
    items: Sequence[int]
    slots: Sequence[int]
    digests: bytes = b""
    kind: str = "value"


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


Row = FlowRunRow | MapRow | ItemBlock | ItemRow | StoredRow | TransitionRow | LogRow | HeartbeatRow


@dataclass(slots=True)
class ItemView:
    """One item as queries return it, from a row or a packed block."""

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


class ReasonCount(NamedTuple):
    """How many items of a map left the happy path for one reason, each counted by its last such attempt.

    `overcome`: a later attempt completed.
    """

    map: str
    reason: str
    state: int
    overcome: bool
    times: int
    first: int  # lowest index


class Ended(NamedTuple):
    """The items of a map that have ended since an earlier look, as columns.

    Attributes:
        blocks: columns; some of them may have been given before, in other blocks. A later attempt overrules an earlier
            one, in whatever order they come.
        left: (index, attempt, state) of each attempt that left the happy path, by index and attempt, those of earlier
            looks too; None: nothing of that has changed.
        mark: for the next look; it means something to the records that gave it alone.
    """

    blocks: list[ItemBlock]
    left: list[tuple[int, int, int]] | None
    mark: object


class Records(Protocol):
    """The record of runs. `append` never blocks on the database and never raises for it."""

    @property
    def limits(self) -> LimitStore:
        """The limits that all programs of this record share."""
        ...

    def append(self, rows: Iterable[Row]) -> None:
        """Queue rows for the one writer, which writes them in order, at most 50 ms later."""
        ...

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all rows appended before are committed; False after `timeout`."""
        ...

    def publish(self, timeout: float | None = None) -> bool:
        """Wait until programs on other machines can see all rows appended before; False where they cannot."""
        ...

    def close(self) -> None: ...

    def flow_runs(self, *, limit: int = 50, state: str | None = None, flow: str | None = None) -> list[FlowRunRow]:
        """Return flow runs, newest first."""
        ...

    def count_flow_runs(self, *, state: str | None = None, flow: str | None = None) -> int:
        """Return how many `flow_runs` would return without a limit."""
        ...

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        """Return a flow run by id, unique prefix of an id, or name (the newest)."""
        ...

    def subflow(self, parent: str, run_key: str) -> FlowRunRow | None:
        """Return the newest run that a flow run made by the call of this key."""
        ...

    def subflows(self, parent: str, *, limit: int = 1000) -> list[FlowRunRow]:
        """Return the runs that a flow run made, the first ones first."""
        ...

    def keyed_run(self, flow: str, run_key: str) -> FlowRunRow | None:
        """Return the newest run of a flow with the user's key."""
        ...

    def claim(self, driver: FlowRunRow) -> int:
        """Make this process the driver of a recorded run after its earlier driver is gone; returns the fencing token.

        Rows that the earlier driver may still write for the run are refused from then on.

        Args:
            driver: id of the run; pid, pid_started, host, heartbeat and incarnation of the new driver. One in a later
                start of the earlier driver's job need not wait for that one's end.

        Raises:
            RunTakenError: the earlier driver is alive, or another one was quicker; or the new driver is in an earlier
                start of the job that has driven the run last; or the run has an order that is not done.
        """
        ...

    def maps(self, flow_run: str) -> list[MapRow]: ...

    def stored(self, map: str, kind: str = "value") -> list[StoredRow]:
        """Return the stored rows of a map (or of a flow run), in the order they were written."""
        ...

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        """Return items by index; with `states` those in one of them, where "Retried" means more than one attempt."""
        ...

    def ended(self, map: str, mark: object = None) -> Ended:
        """Return the items of a map that have ended since the look that gave `mark`; all of them for None.

        The rows of a map count its items at its end alone: a reader that watches a map counts these.
        """
        ...

    def attempts(self, map: str, index: int) -> list[ItemRow]:
        """Return the rows of one item that left the happy path, an attempt a row, first to last."""
        ...

    def reasons(self, maps: Sequence[str]) -> list[ReasonCount]:
        """Return why items of these maps left the happy path, in groups, most frequent first."""
        ...

    def failures(self, flow_run: str, *, limit: int = 20) -> list[tuple[str, str, str, int, int]]:
        """Return failures in groups: (task, error type, message, count, index of the first), most frequent first."""
        ...

    def failed(self, flow_run: str) -> list[tuple[str, str, int, int]]:
        """Return all failures, however many messages there are: (task, error type, count, index of the first)."""
        ...

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]: ...

    def logs(self, flow_run: str, *, limit: int = 1000, level: int = 0) -> list[LogRow]: ...

    def count_logs(self, flow_run: str, *, level: int = 0) -> int:
        """Return how many `logs` would return without a limit."""
        ...

    def request_cancel(self, flow_run: str) -> bool:
        """Note that the run is to be cancelled; its driver sees it within a second."""
        ...

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]: ...

    def taken_over(self, flow_runs: Sequence[str]) -> set[str]:
        """Return the runs that another driver has claimed: nothing more is written for them here."""
        ...

    def mark_dead(self) -> list[str]:
        """Mark runs of dead drivers Crashed (same host: by pid and start time; else by a stale heartbeat).

        A run that waits for a job or an agent has no driver that could be dead. The driver of an order that is not done
        is judged by the service.
        """
        ...

    def end(self, run: FlowRunRow, state: int, message: str) -> bool:
        """End a run that nobody drives: it waits for a job that starts no driver, or its driver went with its job.

        Returns False, and changes nothing, where a driver has given a sign of life since `run` was read.
        """
        ...


def json_parameters(parameters: dict[str, Any]) -> str:
    """Return parameters as JSON text for the record; never fails, cuts at 10,000 characters a value."""
    return json.dumps({text(name): _plain(value, _DEEPEST) for name, value in parameters.items()})


def _plain(value: Any, depth: int) -> Any:
    """Return the JSON form of a value by its type; subclasses of builtins are read as the builtin."""
    kind = type(value)
    if value is None or kind is bool or issubclass(kind, float):
        return value
    if issubclass(kind, int) and int.bit_length(value) <= _LONGEST_INT:
        return value
    if issubclass(kind, str):
        plain = str.__str__(value)
        return plain if len(plain) <= 10_000 else f"{plain[:10_000]}... ({len(plain):,} characters, cut)"
    if issubclass(kind, (list, tuple)) and depth:
        base: Any = list if issubclass(kind, list) else tuple
        if base.__len__(value) > 100:
            return f"<{kind.__name__} of {base.__len__(value):,}>"
        return [_plain(v, depth - 1) for v in base.__iter__(value)]
    if issubclass(kind, dict) and depth:
        if dict.__len__(value) > 100:
            return f"<{kind.__name__} of {dict.__len__(value):,}>"
        return {text(k): _plain(v, depth - 1) for k, v in dict.items(value)}
    return f"<{kind.__name__}>"
