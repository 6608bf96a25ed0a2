"""Storing of values: one block a stage, written before the report goes to the driver.

    columns of a report --> store.blocks.write --> its name goes into the report --> "Completed" is recorded
                                  | a value, or all, cannot be stored
                                  v
                       that position Failed (retried, if it may be), its later stages not begun
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core import states
from anabranch.core.chunks import Binding
from anabranch.core.errors import AnabranchError, StoreError
from anabranch.core.keys import digest_of
from anabranch.results import stored_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anabranch.core.runs import StoredRow
    from anabranch.worker.stages import StagePlan


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
        unstored: called with stage, position and reason of each value that could not be stored.
    """
    names: list[str] = []
    failed: Mapping[int, AnabranchError]
    for stage, plan in enumerate(plans):
        names.append("")
        if plan.unseen is not None:
            _warn(plan, plan.unseen)
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
            if not plan.soft:
                unstored(stage, slot, reason)
        if plan.soft and failed:
            _warn(plan, next(iter(failed.values())))
    return tuple(names)


def digests(plan: StagePlan, args: Sequence[Any]) -> bytes:
    """Return the digests of these positions' inputs, as far as these do not come from other items."""
    columns = plan.stage.hashed
    if columns is None:
        return b""
    if columns:
        args = [tuple(item[k] for k in columns) for item in args]
    return b"".join(map(digest_of, args))


def store_inputs(plans: Sequence[StagePlan], failing: Sequence[tuple[int, int, Any]]) -> list[StoredRow]:
    """Store the inputs of failed items, and once for each stage its call.

    Args:
        failing: stage, item and its input, of each.
    """
    rows: list[StoredRow] = []
    for number, plan in enumerate(plans):
        items = [item for stage, item, _ in failing if stage == number]
        if plan.inputs is None or not items:
            continue
        # A submit travels as a whole call or, behind its producer, as the one value: it is stored as a whole call.
        whole = plan.stage.kind == "submit"
        inputs: list[Any] = [plan.bind(value) if whole else value for stage, _, value in failing if stage == number]
        map_id = plan.stage.map_id
        try:
            if not plan.told:
                plan.told = True
                binding = Binding(star=True) if whole else plan.stage.binding
                given = (plan.spec, binding, plan.constants, plan.stage.draws)
                rows.append(stored_calls.store_call(plan.inputs, map_id, *given))
            row = stored_calls.store_inputs(plan.inputs, map_id, items, inputs)
        except Exception as error:  # the store raised, or the code of a pickled function
            if isinstance(error, StoreError):
                plan.told = False  # tried again with the next failed item
            _warn(plan, error)
            continue
        if row is not None:
            rows.append(row)
    return rows


def _warn(plan: StagePlan, reason: Exception) -> None:
    """Warn once in this process that a value is not stored: the run goes on, a resume would repeat its item."""
    if not plan.warned:
        plan.warned = True
        logs.run_warning(f"not stored, so it runs again if the flow is resumed: {reason}")
