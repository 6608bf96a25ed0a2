"""Elements of a map's iterator: futures in them are found when they are pulled, and each item waits for its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from anabranch.core.asking import passes
from anabranch.core.containers import FIXED, LEAVES
from anabranch.core.frozen import is_plain, taken, taken_list
from anabranch.core.future_lists import is_future
from anabranch.core.walk import lift, without_marks

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun, Upstream
    from anabranch.core.scopes import DriverPort

Waited = dict[int, tuple["Upstream", ...]]  # by an item's place among the pulled ones


def now(item: Any) -> Any:
    """Freeze an element before the next one is pulled, when the iterator may change it; one with futures stays."""
    if type(item) in FIXED or is_plain(item):
        return taken(item)
    item, holds = without_marks(item, is_future)
    return item if holds else taken(item)


def now_list(cells: Any) -> Any:
    """Freeze the elements of a list beside an iterator; those with futures stay."""
    if type(cells) is not tuple:
        return taken_list(cells)
    cells, holds = without_marks(cells, is_future)
    return cells if holds else taken_list(cells)


class Lifted(NamedTuple):
    """Pulled items, ready to be sent on.

    Attributes:
        items: with holes in place of futures.
        waited: the runs that each of them waits for.
        error: that of an item that cannot be taken; then only the items before it are here.
        futures: those in the items, kept until the runs that read them are known: a value without a reader goes, and of
            those that came out of an iterator nobody else has one.
    """

    items: list[Any]
    waited: Waited
    error: BaseException | None
    futures: list[Any]


def lifted(map: MapRun, items: list[Any]) -> Lifted:
    """Return the items with holes in place of futures, and what each waits for."""
    if LEAVES.issuperset([type(item) for item in items]):
        return Lifted(items, {}, None, [])
    scope = cast("DriverPort", map.scope)  # iterators are pulled in the driver
    found: list[Any] = []
    waited: Waited = {}
    kept: list[Any] = []
    try:
        items, holds = without_marks(items, is_future)
        if not holds:
            return Lifted(items, {}, None, [])
        for item in items:
            item, futures = lift(item, is_future)
            if futures:
                kept += futures
                waited[len(found)] = tuple(scope.upstream(future, allow) for future, allow in futures)
            found.append(item)
    except BaseException as error:  # an object's own code may raise anything
        if passes(error):
            raise
        return Lifted(found, waited, error, kept)
    return Lifted(found, waited, None, kept)
