"""Outgoing: carries out the dispatcher's instructions, most of them by a call of a runner.

    Dispatcher.take --Put, Send, Shorten, Free ...--> runners
                    --Spill, Move--> spiller   --Pull--> feeders
                    --AskHandlers, AskRetry, RunHooks, Resolve, KeepInput--> callback thread --answers--> Dispatcher

All of it happens under the pump's lock, so nothing here waits. The answers of other threads come back as events.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from anabranch.core import instructions as ins
from anabranch.core.errors import AnabranchError, RunnerError
from anabranch.core.events import ChunkLost
from anabranch.core.log_lines import LogLine
from anabranch.driver.callback_thread import CallbackThread
from anabranch.driver.feeder import Feeder
from anabranch.driver.spiller import Spiller

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.chunks import Chunk
    from anabranch.core.contracts import Runner
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Row
    from anabranch.driver.callbacks import Callbacks
    from anabranch.engine.dispatch import Dispatcher

    WriteRows = Callable[[list[Row]], None]
    EmitLogs = Callable[[list[LogLine], int], None]


class Outgoing:
    """See the module's head; one per pump.

    Args:
        callbacks: user code, and other parts of the program.
        write_rows: takes record rows; must not block.
        emit_logs: takes workers' log lines.
        enqueue: brings an event that the present step takes along.
        dispatch: brings an event and steps; for the threads here.
        post: brings an event without a step.

    Attributes:
        runners: by lane; None: the runner was closed.
        deferred: chunks with user code that runs inside `submit`, to be sent once the lock is free.
    """

    def __init__(
        self, dispatcher: Dispatcher, callbacks: Callbacks, write_rows: WriteRows, emit_logs: EmitLogs, *,
        enqueue: Callable[..., None], dispatch: Callable[..., None], post: Callable[..., None],
    ) -> None:  # fmt: skip
        self.runners: list[Runner | None] = []
        self.deferred: deque[tuple[Runner, list[Chunk]]] = deque()
        self.callback_thread = CallbackThread(functools.partial(self._warn, level=40))
        self._dispatcher = dispatcher
        self._callbacks = callbacks
        self._write_rows = write_rows
        self._emit_logs = emit_logs
        self._enqueue = enqueue
        self._dispatch = dispatch
        self._feeders: dict[str, Feeder] = {}
        # The spiller only posts: a step may send chunks, and inline chunks run in the stepping thread.
        self._spiller = Spiller(dispatcher, post, self._warn)
        self._do: dict[type, Callable[[Any], None]] = {
            ins.Put: self._put, ins.Send: self._send, ins.Drop: self._drop, ins.Shorten: self._shorten,
            ins.CancelChunk: self._cancel, ins.Free: self._free, ins.Spill: self._spill, ins.Move: self._spill,
            ins.Pull: self._pull, ins.Rows: self._rows, ins.EmitLogs: self._logs, ins.Wake: self._wake,
            ins.WantSlots: self._want, ins.Resolve: self._resolve, ins.AskRetry: self._ask_retry,
            ins.AskHandlers: self._ask_handlers, ins.RunHooks: self._hooks, ins.KeepInput: self._keep,
            ins.NearEnd: self._near_end,
        }  # fmt: skip

    def carry_out(self) -> None:
        """Carry out the dispatcher's new instructions."""
        for instruction in self._dispatcher.take():
            self._do[type(instruction)](instruction)

    def close(self) -> None:
        """End the threads."""
        self.callback_thread.close()
        self._spiller.close()
        for feeder in self._feeders.values():
            feeder.wants.put(0)

    # -- for runners -----------------------------------------------------------------------------

    def _put(self, i: ins.Put) -> None:
        runner = self.runners[i.lane]
        if runner is None:
            return
        try:
            if i.context is None:
                runner.put(i.ref, i.value)
            else:
                i.context.run(runner.put, i.ref, i.value)
        except AnabranchError as error:
            self._enqueue(self._dispatcher.intake.cannot_send, i.lane, i.ref, str(error))

    def _send(self, i: ins.Send) -> None:
        runner = self.runners[i.lane]
        if runner is None:
            for chunk in i.chunks:
                self._enqueue(self._dispatcher.losses.chunk_lost, ChunkLost(chunk.id, "engine-lost"))
        elif self._dispatcher.tables.lanes[i.lane].capabilities.name == "inline":
            # User code runs inside this submit, so it must not happen under the lock.
            self.deferred.append((runner, i.chunks))
        else:
            try:
                runner.submit(i.chunks)
            except RunnerError as error:  # its owner closed it with work left
                self._enqueue(self._dispatcher.losses.engine_lost, i.lane, str(error))

    def _drop(self, i: ins.Drop) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.drop(i.refs)

    def _shorten(self, i: ins.Shorten) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.shorten(i.chunk, i.keep)

    def _cancel(self, i: ins.CancelChunk) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.cancel(i.chunk, i.positions, force=i.force)

    def _free(self, i: ins.Free) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.release(i.handles)

    # -- for threads of the driver ---------------------------------------------------------------

    def _spill(self, i: ins.Spill | ins.Move) -> None:
        self._spiller.put(self.runners[i.block.lane], i)

    def _pull(self, i: ins.Pull) -> None:
        feeder = self._feeders.get(i.map.id)
        if feeder is None:
            feeder = self._feeders[i.map.id] = Feeder(
                i.map,
                apart=not self._dispatcher.tables.lanes[i.map.sending.lane].capabilities.in_process,
                pulled=functools.partial(self._dispatch, self._dispatcher.intake.pulled),
                over=functools.partial(self._feeders.pop, i.map.id, None),
                warn=self._warn,
            )
            feeder.start()
        feeder.wants.put(i.count)

    def _rows(self, i: ins.Rows) -> None:
        self._write_rows(i.rows)

    def _logs(self, i: ins.EmitLogs) -> None:
        # Writing to a terminal may block, so it must not happen under the lock.
        self.callback_thread.put(functools.partial(self._emit_logs, i.lines, i.dropped))

    def _wake(self, i: ins.Wake) -> None:
        for call in i.calls:
            call()

    def _want(self, i: ins.WantSlots) -> None:
        self._callbacks.want_slots()

    def _near_end(self, i: ins.NearEnd) -> None:
        self._callbacks.near_end(i.why)

    # -- for user code ---------------------------------------------------------------------------

    def _hooks(self, i: ins.RunHooks) -> None:
        self.callback_thread.put(functools.partial(self._callbacks.run_hooks, i))

    def _keep(self, i: ins.KeepInput) -> None:
        self.callback_thread.put(functools.partial(self._callbacks.keep_input, i))

    def _ask_handlers(self, i: ins.AskHandlers) -> None:
        # Several events may come before their instructions are carried out, a cancel of this run among them.
        if not i.map.is_terminal(i.index):
            self.callback_thread.put(
                lambda: self._dispatch(self._dispatcher.board.handlers_answered, i, self._callbacks.ask_handlers(i))
            )

    def _ask_retry(self, i: ins.AskRetry) -> None:
        self.callback_thread.put(
            lambda: self._dispatch(self._dispatcher.timeouts.retry_answered, i, self._callbacks.ask_retry(i))
        )

    def _resolve(self, i: ins.Resolve) -> None:
        self.callback_thread.put(functools.partial(self._resolved, i.map))

    def _resolved(self, map: MapRun) -> None:
        """Fetch the values of futures among a map's constants, then let its items go."""
        try:
            constants = self._callbacks.constants_of(map)
        except Exception as error:
            self._dispatch(self._dispatcher.intake.constants_failed, map, f"a constant could not be had: {error}")
            return
        self._dispatch(self._dispatcher.intake.constants_ready, map, constants)

    def _warn(self, text: str, level: int = 30) -> None:
        self._emit_logs([LogLine(time.time(), level, "anabranch", text, "", "", -1)], 0)
