"""States made of exceptions and of return values, with their results in a store."""

from __future__ import annotations

import uuid
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.compat.prefect.result_records import ResultRecord, ResultRecordMetadata
from anabranch.compat.prefect.run_states import State
from anabranch.compat.prefect.state_exceptions import is_state_iterable
from anabranch.compat.prefect.states import (
    Completed,
    Crashed,
    Failed,
    StateGroup,
    active_exception,
    crash_message,
    format_exception,
)
from anabranch.compat.prefect.utilities.asyncutils import awaited

if TYPE_CHECKING:
    from anabranch.compat.prefect.results import ResultStore


def _kept(store: ResultStore, value: Any, key: str | None, expiration: Any, write: bool) -> ResultRecord:
    record = store.create_result_record(value, key=key, expiration=expiration)
    if write:
        try:
            store.persist_result_record(record)
        except Exception as error:
            logs.warn(f"a result could not be kept, and the run goes on: {error}")
    return record


def exception_to_crashed_state_sync(exc: BaseException, result_store: Any = None) -> State:
    """Return the Crashed state of an exception from outside of the user's code."""
    data = exc if result_store is None else result_store.create_result_record(exc, key=uuid.uuid4().hex)
    found: State = Crashed(message=crash_message(exc), data=data)
    return found


def exception_to_failed_state_sync(
    exc: BaseException | None = None, result_store: Any = None, write_result: bool = False, **given: Any
) -> State:
    """Return the Failed state of an exception; of the one that is handled here unless one is given."""
    exc = exc or active_exception()
    data: Any = exc
    if result_store is not None:
        data = _kept(result_store, exc, uuid.uuid4().hex, None, write_result)
    before = given.pop("message", "")
    message = f"{before} {format_exception(exc)}" if before else format_exception(exc)
    found: State = Failed(data=data, message=message, **given)
    found.state_details.retriable = False
    return found


def return_value_to_state_sync(
    retval: Any, result_store: ResultStore, key: str | None = None, expiration: Any = None, write_result: bool = False
) -> State:
    """Return the final state of a run for what its function returned."""
    if isinstance(retval, State) and not (retval.state_details.flow_run_id or retval.state_details.task_run_id):
        if not isinstance(retval.data, (ResultRecord, ResultRecordMetadata)):
            retval.data = _kept(result_store, retval.data, key, expiration, write_result)
        return retval
    if isinstance(retval, State) or is_state_iterable(retval):
        kind, message = StateGroup([retval] if isinstance(retval, State) else retval).verdict()
        return State(type=kind, message=message, data=_kept(result_store, retval, key, expiration, write_result))
    data = list(retval) if isinstance(retval, GeneratorType) else retval
    if not isinstance(data, ResultRecord):
        data = _kept(result_store, data, key, expiration, write_result)
    found: State = Completed(data=data)
    return found


exception_to_crashed_state = awaited(exception_to_crashed_state_sync)
exception_to_failed_state = awaited(exception_to_failed_state_sync)
return_value_to_state = awaited(return_value_to_state_sync)
