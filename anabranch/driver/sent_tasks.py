"""Which tasks the runners have: the function of each travels once per worker, and again once it has changed."""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

from anabranch import logs
from anabranch.core import captured
from anabranch.core.instructions import Put
from anabranch.core.policies import task_input_hash

if TYPE_CHECKING:
    from contextvars import Context

    from anabranch.core.runnable import Runnable
    from anabranch.driver.pump import Pump
    from anabranch.driver.stores import Stores


class SentTasks:
    """Of one session."""

    def __init__(self, pump: Pump, stores: Stores) -> None:
        self._pump = pump
        self._stores = stores
        self._known: dict[tuple[int, int], tuple[int, int]] = {}  # by lane and task: shared id, edition
        self._told: set[tuple[str, str]] = set()  # tasks and large values of theirs
        self._lock = threading.RLock()

    def ref(self, lane: int, task: Runnable, run: str = "") -> int:
        """The shared id by which a map that comes now has its task.

        Where workers are other processes the task is compared with what they have. Maps that are open keep theirs.

        Args:
            run: the flow run that asks.
        """
        dispatcher = self._pump.dispatcher
        apart = not dispatcher.tables.lanes[lane].capabilities.in_process
        with self._lock:
            ref, known = self._known.get((lane, task.serial), (0, 0))
            edition = task.computation.look(run) if apart else 0
            if not ref or known != edition:
                ref = self._put(lane, task, apart, edition, ref)
            self._pump.enqueue(dispatcher.specs.use, ref)
        return ref

    def forget(self, lane: int) -> None:
        """Its runner has been closed."""
        with self._lock:
            self._known = {key: known for key, known in self._known.items() if key[0] != lane}

    def _put(self, lane: int, task: Runnable, apart: bool, edition: int, before: int) -> int:
        if task.options.cached or task.options.persist_result:  # raises where the caller hears it
            task.spec.store, task.spec.probe = self._stores.for_lane(lane)
        if apart:
            _warn_uncached(task)
        new = self._pump.dispatcher.tables.new_ref()
        self._known[lane, task.serial] = (new, edition)
        self._pump.dispatch(self._tell, lane, new, task, before, copy_context() if apart else None)
        if apart:
            self._pump.flush()  # it has been pickled by then: the caller may change what it reads
            self._tell_large(task)
        return new

    def _tell_large(self, task: Runnable) -> None:
        """Say once of each large value of a task that it travels."""
        for what, nbytes in captured.large_in(task.plain_fn):
            if (task.name, what) not in self._told:
                self._told.add((task.name, what))
                logs.warn(
                    f"task {task.name!r} takes {what} along, about {nbytes / 1e6:,.0f} MB: it is sent to each worker "
                    "once, and again when the task has changed. To spare that, load it inside the task"
                )

    def _tell(self, lane: int, ref: int, task: Runnable, before: int, context: Context | None) -> None:
        self._pump.dispatcher.tables.out.append(Put(lane, ref, task.spec, context))
        if before:
            self._pump.dispatcher.specs.renew(lane, before, ref)


def _warn_uncached(task: Runnable) -> None:
    """Say once, in the driver, what each worker would have to say."""
    if task.spec.warned or not task.options.cached or task.options.cache_key_fn not in (None, task_input_hash):
        return
    opaque = task.computation.identity().opaque
    if opaque:
        task.spec.warned = True
        logs.warn(f"task {task.name!r} is not cached: {opaque}; a cache_key_fn of its own decides without it")
