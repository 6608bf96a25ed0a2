"""Elements of a map's iterator: futures in them are found when they are pulled, and each item waits for its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from anabranch.core.asking import passes
from anabranch.core.containers import FIXED, LEAVES
from anabranch.core.frozen import is_plain, taken, taken_list
from anabranch.core.future_lists import is_future
from anabranch.core.walk import lift

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun, Upstream
    from anabranch.core.scopes import DriverPort

Waited = dict[int, tuple["Upstream", ...]]  # by an item's place among the pulled ones


def now(item: Any) -> Any:
    """Freeze an element before the next one is pulled, when the iterator may change it; one with futures stays."""
    if type(item) in FIXED or is_plain(item):
        return taken(item)
    bare, futures = lift(item, is_future)
    return item if futures else taken(bare)


def now_list(cells: Any) -> Any:
    """Freeze the elements of a list beside an iterator; those with futures stay."""
    if type(cells) is not tuple:
        return taken_list(cells)
    bare, futures = lift(cells, is_future)
    return cells if futures else taken_list(bare)


def lifted(map: MapRun, items: list[Any]) -> tuple[list[Any], Waited, BaseException | None]:
    """Return the items with holes in place of futures, the futures that each waits for, and an error.

    The error is that of an item that cannot be taken; then only the items before it are returned.
    """
    if LEAVES.issuperset([type(item) for item in items]):
        return items, {}, None
    scope = cast("DriverPort", map.scope)  # iterators are pulled in the driver
    found: list[Any] = []
    waited: Waited = {}
    try:
        bare, futures = lift(items, is_future)
        if not futures:
            return bare, {}, None
        for item in items:
            bare, futures = lift(item, is_future)
            if futures:
                waited[len(found)] = tuple(scope.upstream(future, allow) for future, allow in futures)
            found.append(bare)
    except BaseException as error:  # an object's own code may raise anything
        if passes(error):
            raise
        return found, waited, error
    return found, waited, None
