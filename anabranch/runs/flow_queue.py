"""Flow runs under limits: a run waits for its slots before its function begins, and can be cancelled meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from anabranch.core import states
from anabranch.core.states import AwaitingConcurrencySlot, Cancelled
from anabranch.engine.flow_run import FlowResult
from anabranch.limits.tickets import SlotGuard
from anabranch.named_limits import slots_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.runs import FlowRunRow
    from anabranch.engine.flow_run import FlowWorld
    from anabranch.limits.tickets import QueueUp
    from anabranch.runs.cancellation import Cancellation
    from anabranch.runs.definition import FlowDefinition
    from anabranch.session import Session


class Queueing(Protocol):
    """A flow run that may wait for slots."""

    flow: FlowDefinition
    session: Session
    row: FlowRunRow
    cancellation: Cancellation


@contextmanager
def queued(run: Queueing, world: FlowWorld) -> Iterator[SlotGuard]:
    """Hold the slots that the run needs: of this process (`concurrency_limit`), and of the record's limit on the flow.

    An exception during the wait (Ctrl-C) ends the run.
    """
    name, limit = f"flow:{run.flow.name}", run.flow.options.concurrency_limit
    queues: list[QueueUp] = [lambda ready: run.session.limits.ticket({name: 1}, on_ready=ready)]
    if limit is not None:
        queues.insert(0, lambda ready: slots_of(name, limit).ticket(name, 1, ready))

    def waits(limits: list[str]) -> None:
        world.changed(AwaitingConcurrencySlot(f"waits for a slot of the limit {', '.join(map(repr, limits))}"), 0)

    slots = SlotGuard(queues, on_wait=waits)
    with run.cancellation.abandons(slots):
        try:
            yield slots
        except BaseException as error:
            if run.row.state == states.AWAITING_SLOT:
                world.changed(world.interrupted(error), 0)
            raise


def given_up(run: Queueing, world: FlowWorld) -> FlowResult | None:
    """Return the result of a run that was cancelled while it waited, else None."""
    if not (run.cancellation.asked and run.row.state == states.AWAITING_SLOT):
        return None
    state = Cancelled("cancelled while it waited for a limit")
    world.changed(state, 0)
    return FlowResult(state, error=run.cancellation.error())
