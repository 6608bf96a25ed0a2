"""The thread of a runner whose engine is elsewhere: it alone decides what is in flight, and calls the engine.

    any thread: put(("submit", ...)) --> actions --> turn(actions): act on each, deliver events --> sink

Callers, callbacks of the engine and finalizers only append; so none of them waits, and nothing needs a lock.
"""

from __future__ import annotations

import logging
import threading
import traceback
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anabranch.core.events import Event

    Action = tuple[Any, ...]  # its name and its arguments

log = logging.getLogger("anabranch.runners")

TICK = 0.5  # seconds between turns where there is nothing to act on
_TOGETHER = 1000  # actions of a turn, at most


class ServeThread:
    """Actions of one runner, and the thread that acts on them.

    Args:
        engine: its name, for the thread and the log.
    """

    def __init__(self, engine: str) -> None:
        self.idle = threading.Event()  # set once there is nothing left to wait for
        self._engine = engine
        self._actions: SimpleQueue[Action | None] = SimpleQueue()
        self.put: Callable[[Action | None], None] = self._actions.put
        self._thread: threading.Thread | None = None
        self._acts: Mapping[str, Callable[..., None]] = {}
        self._lost: Callable[[], object] = bool

    @property
    def started(self) -> bool:
        return self._thread is not None

    @property
    def inside(self) -> bool:
        """Whether the caller is this thread."""
        return threading.current_thread() is self._thread

    def start(
        self,
        acts: Mapping[str, Callable[..., None]],
        turn: Callable[[list[Action], bool], None],
        lost: Callable[[], object] = bool,
    ) -> None:
        """Start the thread.

        Args:
            acts: the function for each name of an action.
            turn: called with the actions of a turn, once a tick at least; False: it is the last turn.
            lost: whether the engine is lost; actions that fail then are not logged, for they all do.
        """
        self._acts, self._lost = acts, lost
        self._thread = threading.Thread(target=self._serve, args=(turn,), name=f"anabranch-{self._engine}", daemon=True)
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Make the next turn the last one, and wait for it."""
        self.put(None)
        if self._thread is not None and not self.inside:
            self._thread.join(timeout)

    def _serve(self, turn: Callable[[list[Action], bool], None]) -> None:
        going = True
        while going:
            actions = self._take()
            going = actions[-1:] != [None]
            turn([action for action in actions if action is not None], going)
            del actions  # what it speaks of is kept alive by nothing while this waits
        self._acts, self._lost = {}, bool
        self.idle.set()

    def _take(self) -> list[Action | None]:
        """What has been said since, up to the word to end; waits for something, a tick at most."""
        actions: list[Action | None] = []
        try:
            actions.append(self._actions.get(timeout=TICK))
            while actions[-1] is not None and len(actions) < _TOGETHER:
                actions.append(self._actions.get_nowait())
        except Empty:
            pass
        return actions

    def act(self, kind: str, *args: Any) -> None:
        """Act on one action; where it goes wrong, the others go on."""
        self.attempt(kind, self._acts[kind], *args)

    def attempt(self, what: str, act: Callable[..., None], *args: Any) -> None:
        try:
            act(*args)
        except Exception:
            if not self._lost():
                log.error("%s: %s failed\n%s", self._engine, what, traceback.format_exc())

    def deliver(self, sink: Callable[[Sequence[Event]], None] | None, events: Sequence[Event]) -> None:
        """Hand events to the driver."""
        if events and sink is not None:
            try:
                sink(events)
            except Exception:
                log.error(
                    "%s: the driver did not take %d events\n%s", self._engine, len(events), traceback.format_exc()
                )
