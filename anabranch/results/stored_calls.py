"""Stored calls of failed items: the call of a map once, and the input of each item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core import user_code
from anabranch.core.runs import StoredRow
from anabranch.core.stored_call import StoredCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.chunks import Binding
    from anabranch.core.draws import Source
    from anabranch.core.stores import BlockStore
    from anabranch.core.task_spec import TaskSpec


def store_call(
    blocks: BlockStore, map_id: str, spec: TaskSpec, binding: Binding, constants: Sequence[Any],
    draws: Source | None,
) -> StoredRow:
    """Store a task with the arguments that all items of one map share."""
    call = StoredCall.of(spec.name, spec.fn, _pickled(spec.fn), binding, tuple(constants))
    call.draws = None if draws is None else (draws.seed, draws.path, draws.first)
    name = blocks.write(f"{map_id}/call", [0], [call.value()]).name
    return StoredRow(map_id, name, [0], [0], kind="call")


def store_inputs(blocks: BlockStore, map_id: str, items: Sequence[int], inputs: Sequence[Any]) -> StoredRow | None:
    """Store the inputs of these items; returns None if none could be stored."""
    written = blocks.write(f"{map_id}/inputs", items, inputs)
    slots = [n for n in range(len(items)) if n not in written.failed]
    return StoredRow(map_id, written.name, [items[n] for n in slots], slots, kind="input") if slots else None


def _pickled(fn: Callable[..., Any]) -> bytes:
    """Pickle a function by value if possible, else by name: its module may hold unpicklable objects."""
    try:
        with user_code.by_value(user_code.local_modules(fn), cloudpickle):
            return cloudpickle.dumps(fn)  # type: ignore[no-any-return]
    except Exception:  # the objects' own code may raise anything
        return cloudpickle.dumps(fn)  # type: ignore[no-any-return]
