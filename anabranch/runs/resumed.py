"""The begin of a flow run where an earlier driver left it, and the data it leaves for a later driver."""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core import context
from anabranch.core.errors import AnabranchError, ResumeError
from anabranch.core.keys import DIGEST_BYTES
from anabranch.core.runs import FlowRunRow, StoredRow
from anabranch.core.states import is_success
from anabranch.driver.scope import Scope, scope_of
from anabranch.resume.keys import Resume
from anabranch.resume.recorded_run import RecordedRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.context import FlowContext
    from anabranch.core.options import FlowOptions
    from anabranch.session import Session

PARAMETERS = "parameters"  # kind of a flow run's stored row


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded run that a call of a flow continues.

    Attributes:
        changed: the rule for task runs with changed code.
        token: this driver's, where it has begun the run already, as that of an order; 0: it claims the run.
        resumable: whether a later driver can go on with the run.
        goes_on: whether an earlier driver's task runs count; False: the run begins anew.
    """

    row: FlowRunRow
    changed: str = "ask"
    token: int = 0
    resumable: bool = True
    goes_on: bool = True


@dataclass(slots=True)
class StartPoint:
    """The starting point of a flow run.

    Attributes:
        row: of the recorded run, None for a new run.
        goes_on: whether an earlier driver's task runs count.
        ordered: the parameters are the call's and not recorded ones, though there is a row.
        key: the user's key, or that of a subflow's call.
        token: this driver's token, see `records/fencing.py`.
        value: the value of a completed run that does not run again, else None.
    """

    resumable: bool = False
    row: FlowRunRow | None = None
    changed: str = "ask"
    key: str = ""
    token: int = 0
    value: tuple[Any] | None = None
    goes_on: bool = True
    ordered: bool = False

    @property
    def parent_run(self) -> str:
        """The run that ordered the recorded one, and waits for it in another program; "" for none."""
        return "" if self.row is None else self.row.parent_run

    @property
    def as_before(self) -> bool:
        """Whether it has completed with the same inputs and code, so that the readers of its value may be kept."""
        return self.row is not None and is_success(self.row.state) and self.changed != "rerun"


def beginning(
    session: Session, name: str, options: FlowOptions, parameters: dict[str, Any], parent: FlowContext | None,
    wanted: Recorded | None, *, streams: bool = False,
) -> StartPoint:  # fmt: skip
    """Find the starting point of a flow run, and become the driver of a recorded one.

    Args:
        streams: it gives its items one by one, and has given them to an earlier reader.

    Raises:
        RunTakenError: the recorded run has a driver.
    """
    task = context.current_task.get()
    if parent is None and task is not None and task.scope is not None:
        return StartPoint()  # called on a worker: it is part of that task run
    if parent is None:
        found = _of_root(session, name, options, wanted)
    else:
        found = _of_subflow(session, name, options, parameters, parent)
        found.value = None if streams else _completed(session, parent, found)
        if found.value is not None:
            return found
    if found.row is not None and not found.token:
        driver = FlowRunRow(found.row.id, name, "", 0, heartbeat=session.clock.time())
        session.process.sign(driver)
        found.token = session.records.claim(driver)
    return found


def _of_root(session: Session, name: str, options: FlowOptions, wanted: Recorded | None) -> StartPoint:
    if wanted is not None:
        return StartPoint(
            wanted.resumable, wanted.row, wanted.changed, wanted.row.run_key, wanted.token, goes_on=wanted.goes_on,
            ordered=wanted.token > 0,
        )  # fmt: skip
    key = options.run_key or ""
    resumable = options.resumable
    if resumable is None:
        resumable = bool(key or options.retries)
    if not (resumable and key):
        return StartPoint(resumable)
    session.records.flush(30.0)
    # The cell or script was edited on purpose: tasks with changed code run again.
    return StartPoint(True, session.records.keyed_run(name, key), "rerun", key)


def _of_subflow(
    session: Session, name: str, options: FlowOptions, parameters: dict[str, Any], parent: FlowContext
) -> StartPoint:
    around = scope_of(parent)
    resume = around.resume
    if resume is None:  # the flow around it is not resumable: it keeps only the values for its own retries
        return StartPoint(bool(options.retries) and options.resumable is not False)
    task = context.current_task.get()
    key = resume.subflow_key(name, parameters, "" if task is None else around.parent_key(task.run.id))
    if resume.past is None or not key:
        return StartPoint(True, key=key)
    session.records.flush(30.0)
    return StartPoint(True, session.records.subflow(parent.id, key), resume.past.changed, key)


def _completed(session: Session, parent: FlowContext, found: StartPoint) -> tuple[Any] | None:
    """Return the value of a completed subflow, where values are kept in spite of changed code.

    Where changed code is asked about, the subflow's function is called again, and its tasks ask.
    """
    row = found.row
    if row is None or found.changed != "keep" or not is_success(row.state):
        return None
    stored = session.records.stored(row.id)
    there, value = session.calls.read((stored[-1].name, 0)) if stored else (False, None)
    if not there:
        return None
    resume = scope_of(parent).resume
    if resume is not None:
        resume.kept.append(row.id)
    return (value,)


def keep_value(session: Session, scope: Scope, value: Any) -> None:
    """Keep the value of a completed subflow for another attempt of the flow around it."""
    if scope.resume is not None and scope.resume.path:
        session.calls.keep(scope.flow_run_id, 0, bytes(DIGEST_BYTES), value)
        scope.resume.kept.append(scope.flow_run_id)


def give(session: Session, scope: Scope, found: StartPoint, parent: FlowContext | None) -> None:
    """Let a scope make keys for its calls, and find the recorded runs under them."""
    if not found.resumable:
        return
    outer = scope_of(parent).resume if parent is not None else None
    kept: list[str] = [] if outer is None else outer.kept
    goes_on = found.row is not None and found.goes_on
    past = _past(session, scope.flow_run_id, kept, found.changed) if goes_on else None
    scope.resume = Resume(found.key, past, kept)


def _past(session: Session, run_id: str, kept: list[str], changed: str) -> RecordedRun | None:
    """Return the recorded task runs of a run; None where no values can have been stored."""
    blocks = session.store.blocks
    return None if blocks is None else RecordedRun(session.records, blocks, run_id, session.write, kept, changed)


def set_aside(session: Session, run_id: str) -> None:
    """Let the recorded task runs of a run that begins anew not count any more."""
    earlier = [row for row in session.records.maps(run_id) if not row.superseded]
    for row in earlier:
        row.superseded = run_id
    if earlier:
        session.write([*earlier])


def close(session: Session, scope: Scope) -> None:
    """Close a flow run's keys: write the values of its calls, and warn about recorded runs that were not called."""
    if scope.resume is not None:
        session.calls.flush()
        scope.resume.note_places(scope.endings.maps)
        scope.resume.tell_unmatched()


def forget_values(session: Session, scope: Scope) -> None:
    """Delete the values that were stored for resuming a run, after it has completed and the record says so."""
    if scope.resume is None:
        return
    run = scope.flow_run_id
    if session.records.taken_over([run]):  # it goes on elsewhere, under the same ids, and reads what is stored
        logs.warn(f"flow run {run} was taken over by another driver: its end here is not recorded, its values stay")
        return
    blocks = session.store.blocks
    if blocks is None:
        return
    try:
        blocks.drop(dict.fromkeys(scope.resume.kept))
    except AnabranchError as error:
        logs.warn(f"values stored in case the run had to be resumed are still there: {error}")


def begin_again(session: Session, scope: Scope) -> None:
    """Let the flow's next attempt keep the completed runs of the last one."""
    maps = scope.endings.maps
    scope.begin_again()
    if scope.resume is None:
        return
    scope.resume.note_places(maps)
    session.calls.flush()
    session.records.flush(30.0)
    past = _past(session, scope.flow_run_id, scope.resume.kept, "keep")
    scope.resume = Resume(scope.resume.path, past, scope.resume.kept)


def keep_parameters(session: Session, run_id: str, parameters: dict[str, Any], *, asked: bool) -> None:
    """Store the arguments of a run: another program needs them to resume it.

    Args:
        asked: whether the user asked for a resumable run; if not, a failure is only a warning.

    Raises:
        ResumeError: they cannot be pickled or written, and the user asked for a resumable run.
    """
    try:
        _store_parameters(session, run_id, parameters)
    except ResumeError as error:
        if asked:
            raise
        logs.warn(str(error))


def _store_parameters(session: Session, run_id: str, parameters: dict[str, Any]) -> None:
    blocks = session.store.blocks
    try:
        written = None if blocks is None else blocks.write(run_id, [0], [parameters])
    except AnabranchError as error:
        raise ResumeError(f"Cannot store the parameters of a resumable flow: {error}") from error
    if written is None or written.failed:
        reason = "" if written is None else f": {written.failed[0]}"
        raise ResumeError(f"Cannot store the parameters of a resumable flow{reason}. Or use resumable=False.")
    session.write([StoredRow(run_id, written.name, [0], [0], kind=PARAMETERS)])


def parameters_of(session: Session, row: FlowRunRow) -> dict[str, Any]:
    """Return the arguments of a recorded run; raises ResumeError where they are not stored."""
    found = session.records.stored(row.id, PARAMETERS)
    blocks = session.store.blocks
    stored = blocks.read(found[-1].name, [0])[0] if found and blocks is not None else None
    if stored is None:
        why = "was not resumable" if not row.resumable else "has lost its stored parameters"
        raise ResumeError(f"Cannot resume flow run {row.name!r}: it {why}. Start it again with `anabranch run`.")
    parameters: dict[str, Any] = stored.value
    return parameters


def entry_of(fn: Callable[..., Any]) -> str:
    """Return where `anabranch resume` finds a flow again: file:name, folder/module:name, "" for one without a file."""
    fn = inspect.unwrap(fn)
    code = getattr(fn, "__code__", None)
    if code is None or not os.path.isfile(code.co_filename) or "<" in fn.__qualname__:
        return ""
    file = os.path.abspath(code.co_filename)
    return f"{_in_package(fn.__module__, file) or file}:{fn.__qualname__}"


def _in_package(module: str, file: str) -> str:
    """Return folder/module of a package's module: read from its file alone it would miss its neighbours; else ""."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if spec is None or not spec.parent:
        return ""
    name = spec.name.split(".")
    *folder, last = Path(file).with_suffix("").parts
    place = folder if last == "__init__" else [*folder, last]
    return os.path.join(*place[: -len(name)], spec.name) if place[-len(name) :] == name else ""
