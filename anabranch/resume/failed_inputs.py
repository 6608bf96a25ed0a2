"""Inputs of failed items that no worker can store: it died with the item, or was abandoned at the item's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core.errors import StoreError
from anabranch.core.frozen import as_given
from anabranch.core.walk import fill
from anabranch.engine.fusing import PIPE
from anabranch.results.stored_calls import store_call, store_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.instructions import KeepInput
    from anabranch.core.maps import Upstream
    from anabranch.core.runs import Row
    from anabranch.core.stores import ResultStore

    ValueOf = Callable[[Any, Upstream], Any]


def keep(
    asked: KeepInput, store: Callable[[], ResultStore], write: Callable[[list[Row]], None], value_of: ValueOf
) -> None:
    """Store the input of an item from the driver; a failure to do so is a warning.

    Args:
        store: makes the result store, or raises StoreError.
        write: takes rows for the record.
        value_of: reads the value of an upstream.
    """
    map, index, call = asked.map, asked.index, asked.call
    try:
        blocks = store().blocks
        if blocks is None:
            return
        rows: list[Row] = []
        if not call.told:
            call.told = True
            rows.append(store_call(blocks, map.id, map.spec, call.binding, call.constants, map.header.draws))
        row = store_inputs(blocks, map.id, [index], [_item(asked, value_of)])
        if row is not None:
            rows.append(row)
        write(rows)
    except Exception as error:  # the store raised, or the code of a pickled value
        if isinstance(error, StoreError):
            call.told = False  # tried again with the next failed item
        logs.warn(f"the input of {map.spec.name}[{index}] is not stored, so it cannot be replayed: {error}")


def _item(asked: KeepInput, value_of: ValueOf) -> Any:
    """Return the mapped item, with the values of its upstreams."""
    map, given = asked.map, as_given(asked.given)
    if map.inputs.feeds and map.inputs.layout is not None:
        values = [value_of(map.scope, up._replace(item=asked.index)) for up in asked.upstreams]
        several = sum(k >= 0 for k in map.inputs.layout) > 1
        row = [(given[k] if several else given) if k >= 0 else values[-k - 1] for k in map.inputs.layout]
        return row[0] if len(row) == 1 else tuple(row)
    values = [value_of(map.scope, up) for up in asked.upstreams if up.value]
    return ((values[0],), {}) if given is PIPE else fill(given, values)
