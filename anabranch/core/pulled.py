"""Elements of a map's iterator: futures among them are known when they are pulled, and each item waits for its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.asking import passes
from anabranch.core.containers import LEAVES
from anabranch.core.futures import is_future
from anabranch.core.walk import lift

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun, Upstream

Waited = dict[int, tuple["Upstream", ...]]  # by the place of an item among those pulled


def lifted(map: MapRun, items: list[Any]) -> tuple[list[Any], Waited, BaseException | None]:
    """The items with holes in place of futures, and what each of these waits for.

    The last is the error of an item that cannot be taken; those before it are the answer then.
    """
    if LEAVES.issuperset([type(item) for item in items]):
        return items, {}, None
    found: list[Any] = []
    waited: Waited = {}
    try:
        bare, futures = lift(items, is_future)
        if not futures:
            return bare, {}, None
        for item in items:
            bare, futures = lift(item, is_future)
            if futures:
                waited[len(found)] = tuple(map.scope._upstream(future, allow) for future, allow in futures)
            found.append(bare)
    except BaseException as error:  # of an object's own code, too
        if passes(error):
            raise
        return found, waited, error
    return found, waited, None
