"""The thread runner's watch: one thread, started at first need, that acts at items' deadlines."""

from __future__ import annotations

import threading
from collections import deque
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from anabranch.runners.in_process.port import LocalPort

    class Watched(Protocol):
        def write_off(self, port: LocalPort, at: tuple[float, int, int, float]) -> bool: ...
        def settle(self, port: LocalPort) -> None: ...


AGAIN = 0.001  # seconds until a chunk that was just reporting is checked again


class Watch:
    """Wakes at the earliest deadline noted in a port, and not once per item.

    A port notes its deadline first and then compares it with `_next`; the watch sets `_next` to
    infinity first and then reads the notes: whichever comes second sees the other.
    """

    def __init__(self, runner: Watched) -> None:
        self.ports: set[LocalPort] = set()  # ports of chunks with time limits
        self._runner = runner
        self._next = inf
        self._jobs: deque[LocalPort] = deque()
        self._wake = threading.Condition(threading.Lock())
        self._dirty = False
        self._thread: threading.Thread | None = None
        self._stopped = False

    def add(self, port: LocalPort, deadline: float) -> None:
        """Note an item with a deadline that begins in this port; called for every such item."""
        self.ports.add(port)
        if deadline < self._next or self._thread is None:
            self._poke()

    def hand(self, port: LocalPort) -> None:
        """Let the watch's thread run a chunk that has no item to start."""
        self._jobs.append(port)
        self._poke()

    def stop(self) -> None:
        """End the thread, after its present work."""
        with self._wake:
            self._stopped = self._dirty = True
            self._wake.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _poke(self) -> None:
        with self._wake:
            self._dirty = True
            self._wake.notify()
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="anabranch-watch", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            self._next = inf
            while self._jobs:
                self._runner.settle(self._jobs.popleft())
            nearest = self._look()
            with self._wake:
                if not self._dirty:
                    self._next = nearest
                    self._wake.wait(None if nearest == inf else max(0.0, nearest - monotonic()))
                self._dirty = False

    def _look(self) -> float:
        """Write off due items; returns the next deadline."""
        now = monotonic()
        nearest = inf
        for port in list(self.ports):
            at = port.at
            if at is None:
                continue
            if at[0] > now:
                nearest = min(nearest, at[0])
            elif not self._runner.write_off(port, at):
                nearest = min(nearest, now + AGAIN)
        return nearest
