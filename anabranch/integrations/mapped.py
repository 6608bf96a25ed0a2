"""A map of an executor elsewhere: one map of the engine, whose values are read in order and let go of."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.errors import CancelledRun
from anabranch.core.streams import take
from anabranch.driver.call_lines import forget
from anabranch.integrations.answers import SetUpFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.future_lists import FutureList
    from anabranch.driver.scope import Scope

TOGETHER = 4096  # values that are read at once


class Mapped:
    """One map of one executor.

    Args:
        ended: called once all items have ended, under the pump's lock.
        broke: returns what is raised in place of a failed initializer's exception.
    """

    def __init__(
        self, scope: Scope, futures: FutureList, ended: Callable[[Mapped], None],
        broke: Callable[[BaseException], BaseException],
    ) -> None:  # fmt: skip
        self._scope = scope
        self._futures = futures
        self._map = futures._map
        self._ended = ended
        self._broke = broke

    def watch(self) -> None:
        """Hear of the end."""
        self._scope.on_end(self._map, None, lambda: self._ended(self))

    def cancel(self) -> None:
        """Cancel the items that no worker has got."""
        pump = self._scope.pump
        pump.call_locked(pump.dispatcher.cancelling.withdraw, self._map, range(len(self._map.codes)))

    def read(self, until: float | None) -> Iterator[Any]:
        """Yield the values in order; those that no worker has got are cancelled once the reader has gone."""
        map, scope = self._map, self._scope
        done, total = 0, len(map.codes)
        try:
            while done < total:
                if not map.is_terminal(done):
                    left = None if until is None else max(0.0, until - time.monotonic())
                    if not scope.wait(map, done, left):
                        raise TimeoutError
                ahead = self._ahead(done)
                batch = take(map, done, ahead, False)
                codes = map.codes[done:ahead]
                scope.stream(map, "give_away", done, ahead)
                done = ahead
                batch.reverse()
                for code in codes:
                    if code in states.SUCCESSFUL:
                        yield batch.pop()
                    else:
                        raise self._understood(batch.pop())
        finally:
            if not map.finished:
                self.cancel()
            else:
                forget(scope, map)

    def _ahead(self, index: int) -> int:
        """Return the end of the run of ended items that begins here."""
        map, last = self._map, min(index + TOGETHER, len(self._map.codes))
        while index < last and map.is_terminal(index):
            index += 1
        return index

    def _understood(self, error: BaseException) -> BaseException:
        if isinstance(error, SetUpFailed):
            return self._broke(error)
        return CancelledError() if isinstance(error, CancelledRun) else error
