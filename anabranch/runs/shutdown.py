"""The end of flow runs after a signal.

    told --> nothing new begins, what runs has its grace, what is left then is cancelled
         --> a recorded state, one line that says how to go on, an exit code
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from anabranch import logs
from anabranch.core.states import Cancelled
from anabranch.core.waiter import Waiter
from anabranch.runs import signals
from anabranch.runs.signals import CTRL_C, Ending, Interruptible, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anabranch.core.runs import FlowRunRow
    from anabranch.core.states import State
    from anabranch.driver.endings import Child

LOOK_SECONDS = 0.1  # between looks at whether the grace was cut short
LAST_SECONDS = 5.0  # for flow runs in threads of their own to be recorded, once all they wait for has ended


class Run(Interruptible, Protocol):
    """A flow run that ends."""

    row: FlowRunRow


def abort(run: Run, by: str) -> None:
    """Cancel all runs that belong to the run, and wait for their ends, within the grace; blocks.

    Args:
        by: the canceller, a word behind "cancelled/" of `core.reasons`.
    """
    endings, grace = run.scope.endings, run.session.settings.shutdown_grace
    endings.leave_streams()
    endings.cancel_all(by=by)
    endings.wait_all(grace)
    endings.leave_streams(all=True)
    endings.wait_cancelled(grace)


def wind_up(run: Run, error: BaseException) -> None:
    """Let no item begin, wait for running items within their grace, and cancel the rest; blocks.

    A second Ctrl-C raises KeyboardInterrupt out of here.
    """
    ending = signals.ending()
    if ending is None and isinstance(error, KeyboardInterrupt):  # raised by a handler of the user's own
        ending = Ending(CTRL_C)
    if ending is None:  # other code has cancelled its asyncio task, and waits for it
        abort(run, "request")
        return
    ending.begin(run.session.settings)
    wait_for_running(run, ending, [*signals.listeners()] or [run])
    run.scope.endings.cancel_all(by=ending.kind.by)
    run.scope.endings.leave_streams()
    run.scope.endings.wait_all(max(LAST_SECONDS, ending.left()))
    for child in tuple(run.scope.endings.children):
        child.over.wait(LAST_SECONDS)


def wait_for_running(run: Run, ending: Ending, roots: Sequence[Child]) -> None:
    """Halt the trees of flow runs, also those that begin meanwhile, until no item runs or the grace is over; blocks."""
    pump = run.session.pump
    halted: set[str] = set()
    ended = Waiter()
    while (left := ending.left()) > 0:
        tree = {one.id for root in roots for one in _tree(root)}
        if not tree <= halted:
            halted |= tree
            pump.dispatch(pump.dispatcher.halts.halt, halted, ended.set)
        if ended.wait(min(left, LOOK_SECONDS)):
            return


def _tree(run: Child) -> Iterator[Child]:
    yield run
    for child in tuple(run.scope.endings.children):
        yield from _tree(child)


def hurry(run: Run) -> None:
    """Cancel the rest without waiting, after a second signal."""
    ending = signals.ending()
    if ending is not None:
        ending.hurry = True
    run.scope.endings.cancel_all(by=ending.kind.by if ending is not None else "request")


def state_of(run: Run, error: BaseException) -> State:
    """The final state of a run that was interrupted or cancelled."""
    ending = signals.ending()
    if ending is not None:
        ending.understood.wait(signals.ANSWER_SECONDS)
        run.ended_by = ending.kind
    if run.ended_by is not None:
        return run.ended_by.state(run.ended_by.message, error)
    return Cancelled(str(error) or (CTRL_C.message if isinstance(error, KeyboardInterrupt) else "Cancelled."), error)


def leaving(run: Run, error: BaseException | None) -> BaseException | None:
    """Return the exception for the caller of a run; out of an outermost run after a signal, the program's own end.

    A run outside the main thread is not all that its program does: its caller gets the error.
    """
    kind: Kind | None = run.ended_by
    if kind is None or run.parent is not None or threading.current_thread() is not threading.main_thread():
        return error
    if kind is CTRL_C:
        return error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt()
    return run.flow.rules.leaves(kind.exit_code)


def how_to_go_on(row: FlowRunRow) -> str:
    """Return the command that resumes an unfinished run; "" where there is none."""
    return f"go on with: anabranch resume {row.name}" if row.resumable else ""


def tell(run: Run, state: State) -> None:
    """Log the command that resumes, at the end of an outermost run that did not complete."""
    text = how_to_go_on(run.row)
    if not text or run.parent is not None or not state.is_final() or state.is_completed():
        return
    if not run.session.records.taken_over([run.id]):  # else another driver goes on with it already
        logs.flow_warning(run, text)
