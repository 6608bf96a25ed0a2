"""The spiller: one thread that moves blocks of values, from memory to disk or to smaller blocks.

    Dispatcher --Spill, Move--> queue --> runner.spill, runner.move --> Dispatcher.spilled, moved

Disks are slow: neither the pump's lock nor the thread of the user's callbacks may wait for one.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from anabranch.core import instructions as ins
from anabranch.core.errors import AnabranchError, ResultReleased

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import SpillingRunner
    from anabranch.engine.dispatch import Dispatcher


class Spiller:
    """Carries out `Spill` and `Move`, one after another.

    Args:
        dispatcher: its methods take the answers.
        post: brings an answer as an event, from any thread.
        warn: takes, once a task, the reason why values could not leave memory.
    """

    def __init__(self, dispatcher: Dispatcher, post: Callable[..., None], warn: Callable[[str], None]) -> None:
        self._dispatcher = dispatcher
        self._post = post
        self._warn = warn
        self._warned: set[str] = set()
        self._queue: SimpleQueue[tuple[SpillingRunner | None, ins.Spill | ins.Move] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, runner: Any, asked: ins.Spill | ins.Move) -> None:
        """Queue an instruction; `runner` is None when it has been closed."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="anabranch-spiller", daemon=True)
            self._thread.start()
        self._queue.put((runner, asked))

    def _main(self) -> None:
        while (given := self._queue.get()) is not None:
            runner, asked = given
            if isinstance(asked, ins.Spill):
                self._spill(runner, asked)
            else:
                self._move(runner, asked)
            del given, runner, asked  # the waiting thread must not keep them alive

    def _spill(self, runner: SpillingRunner | None, asked: ins.Spill) -> None:
        map, block, content = asked.map, asked.block, asked.block.content
        if runner is None or content is None:  # closed, or released since
            self._post(self._dispatcher.values.spill_failed, block)
            return
        try:
            held = runner.spill(block.handle, content)
        except Exception as error:
            if not isinstance(error, ResultReleased):
                self._tell(map.spec.name, error)
            self._post(self._dispatcher.values.spill_failed, block)
            return
        self._post(self._dispatcher.values.spilled, map, block, held)

    def _move(self, runner: SpillingRunner | None, asked: ins.Move) -> None:
        block = asked.block
        if runner is None or block.content is None:
            return
        try:
            held = runner.move(block.handle, [block.slot(i) for i in asked.items], asked.to)
        except AnabranchError:  # the block stays in its place, whole
            return
        self._post(self._dispatcher.values.moved, asked.map, block, asked.items, asked.to, held)

    def _tell(self, name: str, error: Exception) -> None:
        if name not in self._warned:
            self._warned.add(name)
            self._warn(f"values of task {name!r} stay in memory, over the budget for it: {error}")

    def close(self) -> None:
        """End the thread after the queued instructions."""
        self._queue.put(None)
