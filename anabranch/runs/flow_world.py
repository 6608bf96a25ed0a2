"""What the policy of a flow run asks of the program: its states recorded, its task runs ended, its values read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core import states
from anabranch.core.failures import exception_of
from anabranch.core.runs import FlowRunRow, StoredRow, TransitionRow
from anabranch.engine.final_state import Runs
from anabranch.runs import kept_results, resumed, shutdown
from anabranch.runs.returned import resolve_item

if TYPE_CHECKING:
    from anabranch.core.errors import OptionError
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Row
    from anabranch.core.states import State
    from anabranch.runs.flow_run import FlowRun

KNOWN_SECONDS = 1.0  # longest wait for the commit of a resumable run before its function begins
LINES_SECONDS = 5.0  # longest wait for the log lines of its task runs before its own last one


class World:
    """The program around one flow run; implements `engine.flow_run.FlowWorld`.

    Args:
        misnamed: the reason why `flow_run_name` gave the run no name.
    """

    def __init__(self, run: FlowRun, misnamed: OptionError | None) -> None:
        self._run = run
        self._misnamed = misnamed
        self._zero = 0.0  # its start, by the monotonic clock

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._misnamed is not None:
            raise self._misnamed
        flow = self._run.flow
        if not flow.options.validate_parameters:
            return args, kwargs
        return flow.rules.validate(flow.plain_fn, args, kwargs, flow.name)

    def changed(self, state: State, attempt: int) -> None:
        """Note a new state of the run in its row, in the record and in the log."""
        run = self._run
        if run.over.is_set():  # it was left open: its generator goes on, outside the record
            return
        now, row = run.session.clock.time(), run.row
        run.state = state
        row.state, row.state_name, row.message = state.code, state.name, state.message
        row.attempt = attempt
        run.here.attempt = max(1, attempt)
        state.run_id = run.id
        self._time(state, now)
        transition = TransitionRow(run.id, -1, attempt, state.code, state.name, state.message, now)
        rows: list[Row] = [_copy(row), transition]
        try:
            if (kept := self._kept_result(state)) is not None:
                rows.insert(0, kept)
        finally:  # a signal may come while a large value is stored, and the run has ended all the same
            run.session.write(rows)
        if state.is_running() and row.resumable and run.parent is None:  # from here on it can be resumed by name
            run.session.records.flush(KNOWN_SECONDS)
        logs.flow_changed(run, state)
        shutdown.tell(run, state)

    def _kept_result(self, state: State) -> StoredRow | None:
        """Return the row that keeps the run's value, for its end; None where nobody may ask for it."""
        run = self._run
        if not run.ordered or not state.is_completed() or run.flow.options.persist_result is False:
            return None
        return kept_results.row_of(run.session, run.id, state.data)

    def _time(self, state: State, now: float) -> None:
        """Note the start or the end of the run."""
        row, clock = self._run.row, self._run.session.clock
        if state.is_running() and row.started is None:
            row.started, self._zero = now, clock.monotonic()
        if state.is_final():
            self._run.session.pump.callback_thread.drain(LINES_SECONDS)
            row.ended = now
            if row.started is not None:  # measured by the monotonic clock: the wall clock may have been set
                row.ended = row.started + clock.monotonic() - self._zero

    # -- the runs that belong to it --------------------------------------------------------------

    def settle(self, raised: bool = False) -> None:
        run, endings = self._run, self._run.scope.endings
        endings.leave_streams()
        if run.flow.options.on_exit == "cancel":
            endings.cancel_all(expected=True)
        elif raised:
            endings.stop_pulling()
        endings.wait_all()
        endings.leave_streams(all=True)
        endings.wait_cancelled(run.session.settings.shutdown_grace)
        if run.cancellation.asked and not raised:
            raise run.cancellation.error()

    def abort(self, by: str) -> None:
        shutdown.abort(self._run, by)

    def wind_up(self, error: BaseException) -> None:
        shutdown.wind_up(self._run, error)

    def hurry(self) -> None:
        shutdown.hurry(self._run)

    def interrupted(self, error: BaseException) -> State:
        return shutdown.state_of(self._run, error)

    def runs(self) -> Runs:
        unhandled, total, first = self._run.scope.endings.unhandled()
        error = exception_of(*first) if first is not None else None
        return Runs(total, unhandled, error, _named(*first) if first is not None else "")

    def reference(self) -> list[State] | None:
        names = self._run.scope.reference_tasks or self._run.flow._reference
        if names is None:
            return None
        found = []
        for map in self._run.scope.endings.maps:
            if map.spec.name in names and map.codes:
                bad = (i for i, code in enumerate(map.codes) if not states.is_success(code))
                found.append(_with_error(map, next(bad, 0)))  # one state: whether all completed, and the error of one
        return found

    def begin_again(self) -> None:
        resumed.begin_again(self._run.session, self._run.scope)

    # -- values and words ------------------------------------------------------------------------

    def resolve(self, value: Any) -> tuple[Any, Any]:
        return self._run.flow.rules.resolve(value)

    def item(self, value: Any) -> Any:
        return resolve_item(value)

    def warn(self, message: str) -> None:
        logs.flow_warning(self._run, message)


def _with_error(map: MapRun, index: int) -> State:
    state: State = map.state(index)
    if not state.is_completed():
        state.data = exception_of(map, index)
    return state


def _copy(row: FlowRunRow) -> FlowRunRow:
    return FlowRunRow(*(getattr(row, name) for name in FlowRunRow.__slots__))


def _named(map: MapRun, index: int) -> str:
    """Return the name of a failed run, and the type of its error."""
    name = map.header.names.get(index) or f"{map.spec.name}[{index}]"
    error = map.errors.get(index)
    return f"{name}: {error.type_name if error is not None else map.state(index).name}"
