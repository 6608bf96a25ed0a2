"""The seed of a flow run: the flow's option, that of the run around it, or one made at the first draw and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import drawing
from anabranch.core.runs import StoredRow
from anabranch.driver.draws import Draws

if TYPE_CHECKING:
    from anabranch.runs.definition import FlowDefinition
    from anabranch.runs.flow_execution import Place
    from anabranch.runs.resumed import StartPoint
    from anabranch.session import Session

SEED = "seed"  # kind of a flow run's stored row; its name is the seed


def of_call(flow: FlowDefinition, place: Place) -> Draws:
    """Return the seed of a call of a flow, and the place of the run among those around it."""
    given, task = flow.options.seed, place.task
    if place.around is not None:
        draws, source = place.around.draws, None if task is None else task.run.draws
        inside = None if task is None or source is None else (source.at(task.run.index), task.run.attempt)
        return Draws(given, draws.next(flow.name, "flow", inside), draws.seed)
    if task is not None and task.scope is not None:  # called on a worker: part of that task run
        streams = drawing.of_task(task)
        return Draws(given, streams.called(flow.name), lambda: streams.seed)
    return Draws(given)


def begin(session: Session, draws: Draws, run_id: str, start: StartPoint) -> None:
    """Let a run go on with the seed that an earlier driver of it has recorded; record a seed that is given or made."""
    found = session.records.stored(run_id, SEED) if start.row is not None else []
    if found:
        draws.given = int(found[0].name)
        return

    def record(seed: int) -> None:
        session.write([StoredRow(run_id, str(seed), [0], [0], kind=SEED)])

    draws.record = record
    if draws.given is not None:
        record(draws.given)
