"""The begin of a flow run: from a call of a flow to a run with a scope and a row, or to the end of a recorded one.

    call --> its place (which flow, which task is around it)
         --> its start point: new, where an earlier driver left it, or completed before
         --> its runner, its scope, its row, its stored parameters
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from anabranch import session as sessions
from anabranch.core import context, own_runners, secrets, states
from anabranch.core.context import FlowContext, given_name
from anabranch.core.errors import OptionError
from anabranch.core.failures import kept
from anabranch.core.runs import FlowRunRow, json_parameters
from anabranch.core.states import State, StateType
from anabranch.driver.scope import Scope, scope_of
from anabranch.runs import flow_seeds, resumed
from anabranch.runs.flow_execution import FlowExecution, Place
from anabranch.runs.flow_run import FlowRun
from anabranch.runs.flow_world import World

if TYPE_CHECKING:
    from anabranch.core.context import TaskContext
    from anabranch.driver.draws import Draws
    from anabranch.driver.runner_pool import InUse
    from anabranch.runs.definition import FlowDefinition
    from anabranch.runs.resumed import Recorded, StartPoint
    from anabranch.session import Session


@dataclass(frozen=True, slots=True)
class EndedBefore:
    """A flow run that completed in an earlier attempt of the flow around it: its result stands for another run."""

    run: ClassVar[None] = None
    state: State
    as_before: bool

    def go(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        if not return_state:
            return self.state.data
        if isinstance(self.state.data, BaseException):
            kept(self.state.data)
        return self.state

    async def go_async(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        return self.go(args, kwargs, return_state)


def begin(
    flow: FlowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], recorded: Recorded | None = None, *,
    called: bool = False,
) -> FlowExecution | EndedBefore:  # fmt: skip
    """Make the run of a call of a flow; for a subflow that has completed before, what stands for it.

    Args:
        recorded: the recorded run that the call continues.
        called: whether the call waits for the run, in its own thread.

    Raises:
        RunTakenError: the recorded run has a driver.
        ResumeError: the parameters cannot be stored, and the user asked for a resumable run.
    """
    session = sessions.current()
    parameters = _parameters(flow, args, kwargs)
    place = place_of(session, called=called)
    draws = flow_seeds.of_call(flow, place)
    start = resumed.beginning(session, flow.name, flow.options, parameters, place.parent, recorded)
    if start.value is not None and start.row is not None:
        row = start.row
        state = State(StateType.COMPLETED, row.state_name, row.message, *start.value, run_id=row.id)
        return EndedBefore(state, start.as_before)
    return _execution(session, flow, parameters, place, start, draws)


def begin_stream(
    flow: FlowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], recorded: Recorded | None = None
) -> FlowExecution:
    """Make the run of a call that gives its items one by one; it never stands completed. Raises as `begin`."""
    session = sessions.current()
    parameters = _parameters(flow, args, kwargs)
    place = place_of(session, called=True)
    draws = flow_seeds.of_call(flow, place)
    start = resumed.beginning(session, flow.name, flow.options, parameters, place.parent, recorded, streams=True)
    return _execution(session, flow, parameters, place, start, draws)


def _parameters(flow: FlowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    parameters = flow.binder.as_dict(args, kwargs)
    secrets.remember(parameters, *parameters.values())
    return parameters


def place_of(session: Session, *, called: bool) -> Place:
    """Return the place of a call that is made here."""
    task = context.current_task.get()
    parent = context.flow_here() or _flow_of(session, task)
    around = None if parent is None else scope_of(parent)
    return Place(
        task, parent, around, outermost=around is None or around.resume is None,
        caller=context.task_around() if called else None, counts=called and parent is not None and task is None,
    )  # fmt: skip


def _flow_of(session: Session, task: TaskContext | None) -> FlowContext | None:
    """Return the flow run of a task that runs in a thread of this program."""
    if task is None or task.scope is not None:
        return None
    scope = session.scopes.known.get(task.run.flow_run_id)
    return None if scope is None else scope.flow


def _execution(
    session: Session, flow: FlowDefinition, parameters: dict[str, Any], place: Place, start: StartPoint, draws: Draws
) -> FlowExecution:
    id = start.row.id if start.row is not None else session.ids.new()
    name, misnamed = _name(session, flow, parameters, start)
    if place.around is not None:
        place.around.check_goes_on()
    wanted = _wanted_runner(session, flow, place)
    used = session.runners.use(wanted)
    try:
        scope = Scope(
            session.program, used.lane, flow_run_id=id, flow_run_name=name, parameters=parameters,
            log_prints=_log_prints(flow, place.parent), draws=draws,
        )  # fmt: skip
        scope.session_runner = wanted
        resumed.give(session, scope, start, place.parent)
        flow_seeds.begin(session, draws, id, start)
        run = _run(session, flow, parameters, place, start, scope, used)
    except BaseException:
        session.runners.leave(used)
        raise
    return FlowExecution(run, World(run, misnamed), place, used, as_before=start.as_before)


def _run(
    session: Session, flow: FlowDefinition, parameters: dict[str, Any], place: Place, start: StartPoint, scope: Scope,
    used: InUse,
) -> FlowRun:  # fmt: skip
    parent, tags = place.parent, tuple(dict.fromkeys((*flow.options.tags, *context.current_tags.get())))
    row = FlowRunRow(
        scope.flow_run_id, flow.name, scope.flow_run_name, states.PENDING, "Pending", created=session.clock.time(),
        parent_run=parent.id if parent is not None else start.parent_run, version=flow.options.version or "",
        runner=session.pump.dispatcher.tables.lanes[used.lane].capabilities.name, tags=tags,
        parameters=json_parameters(parameters), resumable=start.resumable, run_key=start.key,
        entry=resumed.entry_of(flow.plain_fn) if start.resumable else "", token=start.token,
    )  # fmt: skip
    if start.row is not None:
        row.created, row.attempt = start.row.created, start.row.attempt
    if start.resumable and parent is None and (start.row is None or start.ordered):
        resumed.keep_parameters(session, row.id, parameters, asked=flow.options.resumable is True)
    here = FlowContext(
        row.id, row.name, flow.name, 1, tags, parameters, scope, scope.log_prints, row.version, place.caller,
        flow=flow,
    )
    return FlowRun(
        flow, session, row.id, row.name, parameters, tags, parent, scope, row, here,
        attempt=start.row.attempt if start.row is not None else 0, ordered=start.ordered,
    )  # fmt: skip


def _name(
    session: Session, flow: FlowDefinition, parameters: dict[str, Any], start: StartPoint
) -> tuple[str, OptionError | None]:
    """Return the name of a run, and the reason why `flow_run_name` gave none."""
    given, misnamed = "", None
    if start.row is not None:
        given = start.row.name
    elif flow.options.flow_run_name is not None:
        try:
            given = given_name(flow.options.flow_run_name, parameters, f"@flow {flow.name!r}: flow_run_name")
        except OptionError as error:
            misnamed = error
    return given or session.ids.name(), misnamed


def _log_prints(flow: FlowDefinition, parent: FlowContext | None) -> bool:
    if flow.options.log_prints is not None:
        return flow.options.log_prints
    return parent.log_prints if parent is not None else False


def _wanted_runner(session: Session, flow: FlowDefinition, place: Place) -> Any:
    if place.parent is None and place.task is not None and place.task.scope is not None:
        return "inline"  # called on a worker, which is all it has
    if flow.options.runner is not None:
        return flow.options.runner
    default = own_runners.around() or session.settings.runner
    return place.around.session_runner if place.around is not None else default
