"""Flow runs under limits: a run waits for its slots before its function begins, and can be cancelled meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from anabranch.core import states
from anabranch.core.errors import CancelledRun
from anabranch.core.states import AwaitingConcurrencySlot, Cancelled
from anabranch.engine.flow_run import FlowResult
from anabranch.limits.tickets import Inside
from anabranch.named_limits import slots_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.runs import FlowRunRow
    from anabranch.core.states import State
    from anabranch.limits.tickets import QueueUp
    from anabranch.runs.definition import FlowDefinition
    from anabranch.session import Session


class Queueing(Protocol):
    """A flow run that may wait for slots."""

    flow: FlowDefinition
    session: Session
    name: str
    row: FlowRunRow
    slots: Inside | None
    cancelled: bool

    def changed(self, state: State, attempt: int, /) -> None: ...
    def interrupted(self, error: BaseException, /) -> State: ...


@contextmanager
def queued(run: Queueing) -> Iterator[Inside]:
    """Hold the slots that the run needs: of this process (`concurrency_limit`), and of the record's limit on the flow.

    An exception during the wait (Ctrl-C) ends the run.
    """
    name, limit = f"flow:{run.flow.name}", run.flow.options.concurrency_limit
    queues: list[QueueUp] = [lambda ready: run.session.limits.ticket({name: 1}, on_ready=ready)]
    if limit is not None:
        queues.insert(0, lambda ready: slots_of(name, limit).ticket(name, 1, ready))

    def waits(limits: list[str]) -> None:
        run.changed(AwaitingConcurrencySlot(f"waits for a slot of the limit {', '.join(map(repr, limits))}"), 0)

    run.slots = Inside(queues, on_wait=waits)
    if run.cancelled:  # before it was in the queue
        run.slots.abandon()
    try:
        yield run.slots
    except BaseException as error:
        if run.row.state == states.AWAITING_SLOT:
            run.changed(run.interrupted(error), 0)
        raise
    finally:
        run.slots = None


def given_up(run: Queueing) -> FlowResult | None:
    """Return the result of a run that was cancelled while it waited, else None."""
    if not (run.cancelled and run.row.state == states.AWAITING_SLOT):
        return None
    state = Cancelled("cancelled while it waited for a limit")
    run.changed(state, 0)
    return FlowResult(state, error=CancelledRun(f"flow run {run.name!r} was cancelled"))
