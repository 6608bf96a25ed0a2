"""The runners that a program uses: shared ones by name, which stay warm, and those that users made."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core.errors import ConfigurationError, RunnerError
from anabranch.core.own_runners import OwnRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Runner

CLOSE_SECONDS = 5.0  # longest wait for running chunks when a runner is closed with work left


class Lanes(Protocol):
    """The contract of the pump's lanes, to which runners are added."""

    def add_runner(self, runner: Runner) -> int: ...
    def drop_runner(self, lane: int, *, cancel: bool = False, timeout: float | None = None) -> None: ...
    def flush(self) -> None: ...


class InUse:
    """A runner that a session uses: its lane, how many scopes use it, and since when none does.

    Args:
        wanted: the user's choice: a name or a class, for a runner that is shared and kept warm, or an object.
    """

    def __init__(self, lane: int, runner: Runner, wanted: Any) -> None:
        self.lane = lane
        self.runner = runner
        self.named = isinstance(wanted, (str, type))
        self.scope: Any = None  # for submits in its `with` block
        self.users = 0
        self.idle_since = 0.0
        self._users_object = weakref.ref(wanted) if runner is not wanted and not self.named else None

    def serves(self, wanted: Any) -> bool:
        """Return whether this is the runner that the user means: an object may have the id of one that is gone."""
        return self._users_object is None or self._users_object() is wanted

    @property
    def unreachable(self) -> bool:
        """Whether no code can use it any more."""
        return not self.users and self._users_object is not None and self._users_object() is None

    def over(self, limit: float) -> bool:
        """Return whether it will not be used again: idle since before `limit`, unreachable, or closed by its block."""
        if self.users:
            return False
        if self.named:
            return 0 < self.idle_since < limit
        try:
            self.runner.submit([])
        except RunnerError:
            return True
        return self.unreachable


class RunnerPool:
    """The runners of one session; each is started at first use, and closed when it is out of use.

    Args:
        make: makes a runner from its name.
        dropped: called with the lane of a runner that was closed.
    """

    def __init__(self, lanes: Lanes, make: Callable[[str], Runner], dropped: Callable[[int], object]) -> None:
        self.known: dict[Any, InUse] = {}
        self._lanes = lanes
        self._make = make
        self._dropped = dropped
        self._left: list[InUse] = []  # unreachable ones with an id that another object has now
        self._lock = threading.RLock()

    def use(self, wanted: Any) -> InUse:
        """Return the runner of a name or class (shared, kept warm), or of the user's own object."""
        named = isinstance(wanted, (str, type))
        key = wanted if named else id(wanted)
        known = self.known.get(key)
        if known is None or not known.serves(wanted):
            self.close_unreachable()
        with self._lock:
            found = self.known.get(key)
            if found is None or not found.serves(wanted):
                if found is not None:
                    self._left.append(found)
                runner = self._runner(wanted)
                found = self.known[key] = InUse(self._lanes.add_runner(runner), runner, wanted)
            found.users += 1
            return found

    def _runner(self, wanted: Any) -> Runner:
        if isinstance(wanted, str):
            return self._make(wanted)
        runner: Any = wanted() if isinstance(wanted, type) else wanted
        if not hasattr(runner, "submit") or not hasattr(runner, "start"):
            raise ConfigurationError(
                f"runner must be thread, process, inline, dask, ray or a runner object, got {wanted!r}"
            )
        if runner is wanted and isinstance(wanted, OwnRunner):
            runner = wanted.twin()
        return runner  # type: ignore[no-any-return]

    def leave(self, used: InUse) -> None:
        with self._lock:
            used.users -= 1
            used.idle_since = time.monotonic()

    def close_idle(self, seconds: float) -> None:
        """Close runners that are out of use, and of the shared ones those that were idle for so long."""
        limit = time.monotonic() - seconds
        with self._lock:
            over = [self.known.pop(k) for k, used in list(self.known.items()) if used.over(limit)]
        self._close(over)

    def close_unreachable(self) -> None:
        """Close unreachable runners before another one starts: a loop that makes runners must not pile them up."""
        self._lanes.flush()  # a dead future may be the last object that holds a runner
        with self._lock:
            over = [self.known.pop(k) for k, used in list(self.known.items()) if used.unreachable]
            over += self._left
            self._left = []
        self._close(over)

    def _close(self, over: list[InUse]) -> None:
        for used in over:
            unheard = used.unreachable  # the results of its running chunks will not be read
            self._lanes.drop_runner(used.lane, cancel=unheard, timeout=CLOSE_SECONDS if unheard else None)
            self._dropped(used.lane)

    def close(self) -> list[RunnerError]:
        """Close all runners; returns the errors."""
        with self._lock:
            over = [*self.known.values(), *self._left]
            self.known.clear()
        errors = []
        for used in over:
            try:
                used.runner.close(cancel=True, timeout=CLOSE_SECONDS)
            except RunnerError as error:
                errors.append(error)
        return errors
