"""The thread on which user code of the driver's side runs: hooks, callbacks, conditions, state handlers.

It runs one piece of work after another. Other threads hold the pump's lock or carry out instructions, and must not
wait for user code.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from anabranch.core import forks
from anabranch.core.asking import shown

if TYPE_CHECKING:
    from collections.abc import Callable


class CallbackThread:
    """Runs pieces of work in order; the thread begins with the first.

    Args:
        warn: called for each piece of work that raised.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._copied = forks.mark()

    def put(self, work: Callable[[], object]) -> None:
        """Queue this after all earlier work; does not wait."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="anabranch-callbacks", daemon=True)
            self._thread.start()
        self._queue.put(work)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until all earlier work has run."""
        if self._thread is None or threading.current_thread() is self._thread:
            return
        done = threading.Event()
        self._queue.put(done.set)
        done.wait(timeout)

    def close(self) -> None:
        """End the thread after the queued work."""
        if self._thread is not None:
            self._queue.put(None)

    def _main(self) -> None:
        while (work := self._queue.get()) is not None:
            failure: BaseException | None = None
            try:
                work()
            except BaseException as error:  # a user's callback must not end the thread for all others
                failure = error
            if self._copied:  # the callback has forked, and this thread is in the copy
                forks.leave(failure)
            if failure is not None:
                self._warn(f"callback failed: {shown(failure)}")
            del work, failure
