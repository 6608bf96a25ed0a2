"""Maps with a key: the same call again, such as a cell that is run once more, gets the list that is there.

    load.map(days, run_key="days")    the first time: a new map
    load.map(days, run_key="days")    code and inputs are the same: its list, under way or ended
    load.map(more, run_key="days")    something has changed: a new map, which takes the place of the old one
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core import context
from anabranch.core.errors import OptionError, SerializationError
from anabranch.core.future_lists import is_future
from anabranch.core.keys import hash_value
from anabranch.core.states import CANCELLED
from anabranch.core.walk import lift, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.future_lists import FutureList
    from anabranch.core.maps import MapRun
    from anabranch.core.options import MapOptions
    from anabranch.core.runnable import Runnable
    from anabranch.core.scopes import SubmitPort


class _Known(NamedTuple):
    digest: str
    futures: FutureList


class KeyedMaps:
    """Of one program, outside of flows. The lists are held until another one, or their `release`, ends that.

    Args:
        tell: shows a line.
        seen: called for a map under way that is asked for again: it is to be shown where the present code's output is.
    """

    def __init__(self, tell: Callable[[str], None], seen: Callable[[MapRun], None]) -> None:
        self._tell = tell
        self._seen = seen
        self._known: dict[str, _Known] = {}
        self._lock = threading.RLock()

    def find(
        self, scope: SubmitPort, lane: int, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any],
        options: MapOptions, wait_for: Any,
    ) -> FutureList:  # fmt: skip
        """Return the list that is there, or make one.

        Raises:
            OptionError: in a flow or a task, or where code or inputs cannot be compared with others.
        """
        key = options.run_key
        assert key is not None
        where = f"{task.name}.map(run_key={key!r})"
        if context.current_flow.get() is not None or context.current_task.get() is not None:
            raise OptionError(f"{where}: a map has a key outside of flows only; a flow has one by @flow(run_key=...)")
        plain = replace(options, run_key=None)
        args, kwargs = listed((args, kwargs), is_future)  # the look at an iterator would leave nothing of it
        digest = _digest(where, task, args, kwargs, plain, lane)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known.digest == digest and _lives(known.futures):
                self._attach(key, known.futures._map)
                return known.futures
            if known is not None and known.digest != digest:
                self._tell(f"Map {task.name!r} begins anew: code or inputs of run_key {key!r} have changed")
            futures = scope.map(task, args, kwargs, plain, wait_for)
            self._known[key] = _Known(digest, futures)
            return futures

    def key_of(self, map: MapRun) -> str | None:
        """Return the key by which a map is held; None: by none."""
        return next((key for key, one in tuple(self._known.items()) if one.futures._map is map), None)

    def _attach(self, key: str, map: MapRun) -> None:
        if map.finished:
            return
        total = f"{len(map.codes):,}" if map.closed else "an unknown number of"
        self._tell(f"Map {map.spec.name!r} of run_key {key!r} goes on: {map.done:,} of {total} items have ended")
        self._seen(map)


def _lives(futures: FutureList) -> bool:
    """Return whether a list can stand for a new one: nobody let go of its values or cancelled its items."""
    return not futures._released and futures._map.codes.count(CANCELLED) == 0


def _digest(
    where: str, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], options: MapOptions, lane: int
) -> str:
    code = task.computation.identity(working=False)
    if code.opaque:
        raise OptionError(f"{where}: the task cannot be compared with that of another call: {code.opaque}")
    lifted, found = lift((args, kwargs), is_future)
    futures = [(one._map.id, getattr(one, "_index", None), allow) for one, allow in found if hasattr(one, "_map")]
    if len(futures) < len(found):
        raise OptionError(f"{where}: a State among the arguments cannot be compared; give its future")
    marks = [type(one).__qualname__ for one in (*args, *kwargs.values())]  # `lift` takes annotations off
    try:
        return hash_value(
            (task.name, code.code, code.state, task.options, options, lane, lifted, marks, futures), None, "call", True
        )
    except SerializationError as error:
        raise OptionError(
            f"{where}: its inputs cannot be compared with those of another call ({error}); give lists in place of "
            "iterators, or leave the run_key out"
        ) from None
