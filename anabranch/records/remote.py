"""Records behind an anabranch server: `records = "https://server"`.

    append --> writer --> frames (records/http_sink.py) --> POST /ingest
    queries, claims, limits ----------------------------> POST /records/<call> (records/calls.py)

A server that is away never fails a run: rows wait, requests to cancel and limits are read once it is back. What the
course of a resumable run depends on is asked again for a while.
"""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from anabranch.core.access import is_of_run
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordRefused, RecordsError, RunTakenError, ServiceError, UnreachableError
from anabranch.core.ids import Ids
from anabranch.core.processes import is_here
from anabranch.core.states import CRASHED
from anabranch.records.calls import packed, unpacked
from anabranch.records.drivers import Driver
from anabranch.records.http import MSGPACK, HttpServer, own_version
from anabranch.records.http_sink import HttpSink
from anabranch.records.outbox import Outbox
from anabranch.records.parts import by_index, newest_first
from anabranch.records.service import problems
from anabranch.records.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import NoReturn, Self

    from anabranch.core.contracts import Clock
    from anabranch.core.limits import Ask, Holder, Lease, Limit, Standing, Starts
    from anabranch.core.runs import (
        Ended,
        FlowRunRow,
        ItemRow,
        ItemView,
        LogRow,
        MapRow,
        ReasonCount,
        Row,
        StoredRow,
        TransitionRow,
    )
    from anabranch.records.http import Answer
    from anabranch.records.upkeep import Problem, Sizes

logger = logging.getLogger("anabranch.records")

PATIENCE = 30.0  # seconds for which a server that is away is asked again, for the sake of a run's course
_PAUSE = 0.25
_ANSWER = 30.0  # seconds without a byte of an answer
_QUICK = 5.0  # the same for what is asked every second
_MANY = 200  # runs that are looked at for dead drivers


class Calls:
    """Calls of a server's records, with its problems made errors again."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server

    def __call__(self, name: str, /, *, wait: float = _ANSWER, patience: float = 0.0, **given: Any) -> Any:
        """Return the answer to a call.

        Args:
            wait: seconds without a byte of the answer.
            patience: seconds for which a server that does not answer is asked again.

        Raises:
            RecordsError: the server cannot be reached, or refuses the call; says why.
            RunTakenError: as the call raises it.
        """
        until = time.monotonic() + patience
        while True:
            try:
                answer = self.server.ask("POST", f"/records/{name}", packed(given), kind=MSGPACK, timeout=wait)
                if answer.status not in (502, 504):
                    break
                trouble = f"the server at {self.server.name} cannot be reached: its proxy answers {answer.status}"
            except UnreachableError as error:
                trouble = str(error)
            if time.monotonic() >= until:
                raise RecordsError(trouble)
            time.sleep(_PAUSE)
        if not answer.good:
            raise self._error(name, answer)
        try:
            return unpacked(answer.body)
        except ServiceError as error:
            raise RecordsError(
                f"the server at {self.server.name} did not answer {name} as a record does: {error}"
            ) from None

    def _error(self, name: str, answer: Answer) -> Exception:
        kind, place = _type(answer), self.server.name
        if kind == problems.TAKEN:
            return RunTakenError(answer.why)
        if kind == problems.ACCESS or answer.status in (401, 403):
            return RecordRefused(f"the server at {place} refuses {name}: {answer.why}")
        if kind == problems.ROUTE or not kind:
            told = f"{place} does not know records/{name} ({answer.status})"
            return RecordsError(f"{told}: it is no anabranch server, or one of an older version")
        return RecordsError(f"the server at {place}: {answer.why}")


def _type(answer: Answer) -> str:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return ""
    kind = found.get("type") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else ""


class RemoteLimits:
    """`LimitStore` of a server. Each call raises RecordsError where the server does not answer, but `limits`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: list[Limit] = []
        self._told = False

    def limits(self) -> list[Limit]:
        """Return the limits; while the server is away those that are known from before."""
        try:
            self._known = self._calls("limits.limits", wait=_QUICK)
            self._told = False
        except RecordsError as error:
            if not self._told:
                logger.warning("Limits of the record are not known just now, and those of before hold: %s", error)
            self._told = True
        return list(self._known)

    def set(self, limit: Limit) -> None:
        self._calls("limits.set", limit=limit)

    def delete(self, name: str) -> bool:
        found: bool = self._calls("limits.delete", name=name)
        return found

    def leases(self, name: str) -> list[Lease]:
        found: list[Lease] = self._calls("limits.leases", name=name)
        return found

    def acquire(self, holder: Holder, asks: Sequence[Ask]) -> list[int]:
        found: list[int] = self._calls("limits.acquire", holder=holder, asks=list(asks))
        return found

    def release(self, holder: Holder, slots: Mapping[str, int]) -> None:
        self._calls("limits.release", holder=holder, slots=dict(slots))

    def leave(self, holder: Holder) -> None:
        self._calls("limits.leave", wait=_QUICK, holder=holder)

    def renew(self, holder: Holder) -> None:
        self._calls("limits.renew", holder=holder)

    def standing(self, holder: Holder) -> dict[str, Standing]:
        found: dict[str, Standing] = self._calls("limits.standing", holder=holder)
        return found

    def free(self, name: str, token: str = "") -> int:
        found: int = self._calls("limits.free", name=name, token=token)
        return found

    def start(self, name: str, count: int = 1) -> Starts:
        found: Starts = self._calls("limits.start", name=name, count=count)
        return found


class RemoteReader:
    """The queries of `Records`, asked of a server."""

    def __init__(self, server: HttpServer) -> None:
        self._calls = Calls(server)

    def flow_runs(self, *, limit: int = 50, state: str | None = None, flow: str | None = None) -> list[FlowRunRow]:
        ask = partial(self._calls, "flow_runs", state=state, flow=flow)
        return newest_first(ask, limit, lambda run: run.created)

    def count_flow_runs(self, *, state: str | None = None, flow: str | None = None) -> int:
        found: int = self._calls("count_flow_runs", state=state, flow=flow)
        return found

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        found: FlowRunRow | None = self._calls("flow_run", id_or_name=id_or_name)
        return found

    def subflow(self, parent: str, run_key: str) -> FlowRunRow | None:
        found: FlowRunRow | None = self._calls("subflow", patience=PATIENCE, parent=parent, run_key=run_key)
        return found

    def subflows(self, parent: str, *, limit: int = 1000) -> list[FlowRunRow]:
        found: list[FlowRunRow] = self._calls("subflows", parent=parent, limit=limit)
        return found

    def keyed_run(self, flow: str, run_key: str) -> FlowRunRow | None:
        found: FlowRunRow | None = self._calls("keyed_run", patience=PATIENCE, flow=flow, run_key=run_key)
        return found

    def maps(self, flow_run: str) -> list[MapRow]:
        found: list[MapRow] = self._calls("maps", flow_run=flow_run)
        return found

    def stored(self, map: str, kind: str = "value") -> list[StoredRow]:
        found: list[StoredRow] = self._calls("stored", patience=PATIENCE, map=map, kind=kind)
        return found

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        wanted = None if states is None else list(states)
        return by_index(partial(self._calls, "items", map=map, states=wanted), first, limit)

    def ended(self, map: str, mark: object = None) -> Ended:
        """Return the items of a map that have ended since an earlier look."""
        found: Ended = self._calls("ended", map=map, mark=mark)
        return found

    def attempts(self, map: str, index: int) -> list[ItemRow]:
        found: list[ItemRow] = self._calls("attempts", map=map, index=index)
        return found

    def reasons(self, maps: Sequence[str]) -> list[ReasonCount]:
        found: list[ReasonCount] = self._calls("reasons", maps=list(maps))
        return found

    def failures(self, flow_run: str, *, limit: int = 20) -> list[tuple[str, str, str, int, int]]:
        found: list[tuple[str, str, str, int, int]] = self._calls("failures", flow_run=flow_run, limit=limit)
        return found

    def failed(self, flow_run: str) -> list[tuple[str, str, int, int]]:
        found: list[tuple[str, str, int, int]] = self._calls("failed", flow_run=flow_run)
        return found

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]:
        found: list[TransitionRow] = self._calls("transitions", run=run, index=index)
        return found

    def logs(self, flow_run: str, *, limit: int = 1000, level: int = 0) -> list[LogRow]:
        def ask(**part: Any) -> list[LogRow]:
            found: list[LogRow] = self._calls("logs", flow_run=flow_run, level=level, **part)
            return found[::-1]

        return newest_first(ask, limit, lambda line: line.when)[::-1]

    def count_logs(self, flow_run: str, *, level: int = 0) -> int:
        found: int = self._calls("count_logs", flow_run=flow_run, level=level)
        return found

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]:
        if not flow_runs:
            return set()
        found: set[str] = self._calls("cancel_requested", wait=_QUICK, flow_runs=list(flow_runs))
        return found


class RemoteRecords(RemoteReader):
    """`Records` behind an anabranch server. Opening them asks nothing: the server may be away.

    Args:
        address: "http://host:port" or "https://host".
        home: the folder in whose `outbox` rows wait that the server could not take before this program's end.
        key: of this program; "" where the server asks for none.
        clock, commit_interval: as of `Recorder`.

    Raises:
        ConfigurationError: the address is none.
    """

    def __init__(
        self, address: str, home: Path, *, key: str = "", clock: Clock = SYSTEM, commit_interval: float = 0.05
    ) -> None:
        self._server = HttpServer(address, key)
        super().__init__(self._server)
        self._clock = clock
        self._of_run = is_of_run(key)
        self.limits = RemoteLimits(self._calls)
        sink = HttpSink(self._server, Outbox(home / "outbox"), clock, Ids().new(), own_version())
        self._writer = Writer(sink, commit_interval)

    @property
    def writer_seconds(self) -> float:
        """CPU time that the writing thread has used up to its last commit."""
        return self._writer.seconds

    def append(self, rows: Iterable[Row]) -> None:
        """As of `Recorder`."""
        self._writer.append(rows)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all rows appended before are committed; False after `timeout`, and while the server is away."""
        return self._writer.flush(timeout)

    def publish(self, timeout: float | None = None) -> bool:
        """Wait until programs on other machines can see all rows appended before; False after `timeout`."""
        return self._writer.flush(timeout, patient=True)

    def close(self, timeout: float | None = None) -> None:
        """Have the appended rows committed. While the server is away that takes 5 s, and the rows wait on disk."""
        self._writer.close(timeout)
        self._server.close()

    # -- the lives of runs -----------------------------------------------------------------------

    def claim(self, driver: FlowRunRow) -> int:
        """Make this process the driver of a run after its earlier one is gone. Raises RunTakenError."""
        self.publish(PATIENCE)
        try:
            return self._claim(driver)
        except RunTakenError:
            run = self.flow_run(driver.id)
            if run is None or run.id != driver.id or not self._bury(run):
                raise
        return self._claim(driver)

    def _claim(self, driver: FlowRunRow) -> int:
        token: int = self._calls("claim", patience=PATIENCE, driver=driver)
        return token

    def request_cancel(self, flow_run: str) -> bool:
        """Request that a run be cancelled; False when there is none of this id or it has ended."""
        found: bool = self._calls("request_cancel", flow_run=flow_run)
        return found

    def taken_over(self, flow_runs: Sequence[str]) -> set[str]:
        """Return those of this driver's runs that another driver has taken over."""
        return self._writer.sink.lost.intersection(flow_runs)

    def mark_dead(self) -> list[str]:
        """Mark runs of dead drivers Crashed; returns their ids. The server knows no processes of this machine."""
        found: list[str] = self._calls("mark_dead", wait=_QUICK)
        if self._of_run:  # the key of a run reads no others; its agent looks after drivers of this machine
            return found
        return found + [run.id for run in self.flow_runs(state="RUNNING", limit=_MANY) if self._bury(run)]

    def _bury(self, run: FlowRunRow) -> bool:
        """Mark a run Crashed if its driver was a process of this machine that is gone."""
        driver = Driver.of(run)
        if driver.ended or not driver.pid or not is_here(driver.host) or not driver.gone(self._clock.time()):
            return False
        return self.end(run, CRASHED, driver.message)

    def end(self, run: FlowRunRow, state: int, message: str) -> bool:
        """End a run that nobody drives; False where it has changed since it was read."""
        found: bool = self._calls("end", run=run, state=state, message=message)
        return found

    # -- what is done where the record is --------------------------------------------------------

    def check(self) -> list[Problem]:
        self._elsewhere("checked")

    def old_places(self, before: float) -> list[str]:
        self._elsewhere("compacted")

    def compact(self, before: float | None) -> Sizes:
        self._elsewhere("compacted")

    def _elsewhere(self, what: str) -> NoReturn:
        raise RecordsError(f"the record of {self._server.name} is {what} where it lies, on the machine of the server")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
