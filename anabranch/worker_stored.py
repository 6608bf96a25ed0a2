"""What a worker persists of a report, written as one block a stage before the driver hears of it.

    columns of a report --> store.blocks.write --> its name goes into the report --> "Completed" is recorded
                                  | a value, or all, cannot be stored
                                  v
                       that position Failed (retried, if it may be), its later stages not begun
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.contracts import Outcome
from anabranch.core.errors import AnabranchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anabranch.worker_stages import StagePlan


def store(
    plans: Sequence[StagePlan],
    items: Sequence[Sequence[int]],
    values: Sequence[Sequence[Any]],
    codes: Sequence[Sequence[int]] | None,
    unstored: Callable[[int, int, Exception], None],
) -> tuple[str, ...]:
    """Write the values of completed positions, stage by stage, and return the blocks' names ("": none).

    Args:
        items: for each stage, the item of each position; `values` and `codes` alike.
        unstored: is told the stage, the position and the reason of each that could not be stored.
    """
    names: list[str] = []
    failed: Mapping[int, AnabranchError]
    for stage, plan in enumerate(plans):
        names.append("")
        if plan.blocks is None:
            continue
        row = None if codes is None else codes[stage]
        without = () if row is None else {slot for slot, code in enumerate(row) if code != states.COMPLETED}
        if len(without) == len(values[stage]):
            continue
        try:
            names[-1], failed = plan.blocks.write(plan.stage.map_id, items[stage], values[stage], without)
        except StoreError as error:
            failed = dict.fromkeys((slot for slot in range(len(values[stage])) if slot not in without), error)
        for slot, reason in failed.items():
            unstored(stage, slot, reason)
    return tuple(names)


def overwrite(
    stage: int,
    slot: int,
    outcome: Outcome,
    values: Sequence[list[Any]],
    codes: Sequence[bytearray],
    outcomes: list[Outcome],
) -> None:
    """Put another end in the place of a stage's at this position; the stages after it have not begun."""
    outcomes[:] = [one for one in outcomes if one.position != outcome.position or one.stage < stage]
    outcomes.append(outcome)
    codes[stage][slot], values[stage][slot] = outcome.code, None
    for later in range(stage + 1, len(values)):
        codes[later][slot], values[later][slot] = states.PENDING, None
        outcomes.append(Outcome(later, outcome.position, states.PENDING))
