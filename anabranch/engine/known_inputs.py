"""The arguments of an item, as far as the driver has them, for hooks of runs that end there.

Nothing is fetched or searched before a hook asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core import states
from anabranch.core.binding import binder
from anabranch.core.chunks import Binding
from anabranch.core.errors import AnabranchError
from anabranch.core.failures import exception_of
from anabranch.core.frozen import as_given
from anabranch.core.instructions import KeepInput
from anabranch.core.params import Binder
from anabranch.core.stored_call import KeptCall
from anabranch.core.walk import fill
from anabranch.engine.fusing import PIPE

if TYPE_CHECKING:
    from anabranch.core.instructions import Instruction
    from anabranch.core.maps import MapRun, Upstream


class Given(NamedTuple):
    """An item as it was submitted, and its upstreams; the tables forget both when it ends."""

    item: Any
    upstreams: tuple[Upstream, ...]


def given_to(map: MapRun, index: int) -> Given:
    """Return the item's submit and upstreams; call it before the item's end is processed."""
    source = map.inputs.source
    item = source.at(index) if source is not None and source.random_access else map.inputs.args.get(index)
    return Given(item, tuple(map.inputs.feeds or map.inputs.upstreams.get(index, ())))


def keep_input(out: list[Instruction], map: MapRun, index: int) -> None:
    """Store the input of a failed item from the driver, where no worker can do it."""
    if not map.values.resumable or map.is_terminal(index):
        return
    given, upstreams = given_to(map, index)
    map.inputs.call = map.inputs.call or KeptCall(Binding(star=True))  # single submits travel as whole calls
    out.append(KeepInput(map, index, given, upstreams, map.inputs.call))


def parameters(map: MapRun, index: int, given: Given) -> dict[str, Any]:
    """Return the item's arguments by name, see `_value`; empty where they are not known here, as for a plain call."""
    call = _call(map, index, given)
    return {} if call is None else Binder(map.spec.fn, map.spec.name).as_dict(*call)


def _call(map: MapRun, index: int, given: Given) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    item = as_given(given.item)
    if map.inputs.feeds and map.inputs.layout is not None:
        values = [_value(up, index) for up in given.upstreams]
        several = sum(k >= 0 for k in map.inputs.layout) > 1
        row = [(item[k] if several else item) if k >= 0 else values[-k - 1] for k in map.inputs.layout]
        item = row[0] if len(row) == 1 else tuple(row)
    elif given.upstreams:
        values = [_value(up, up.item) for up in given.upstreams if up.value]
        item = ((values[0],), {}) if item is PIPE else fill(item, values)
    if map.inputs.starred:
        found: tuple[tuple[Any, ...], dict[str, Any]] = item
        return found
    if map.inputs.call is None:
        return None
    constants = map.inputs.call.constants
    late = getattr(map.scope, "late_constants", None)
    pending = None if late is None else late(map)
    if pending is not None:
        constants = fill(pending[0], [_value(up, up.item) for up in pending[1]])
    return binder(map.inputs.call.binding, constants)(item)


def _value(up: Upstream, index: int | None) -> Any:
    """Return an input's value or exception; before its end its State, and for a value that is gone the reason."""
    map = up.map
    if index is None:
        return [_value(up, i) for i in range(len(map.codes))]
    if not map.is_terminal(index):
        return map.state(index)
    if not states.is_success(map.codes[index]):
        return exception_of(map, index)
    try:
        return map.scope.value(map, index)
    except AnabranchError as error:
        return error
