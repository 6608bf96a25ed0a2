"""One execution of one chunk on a Dask worker, as `run_chunk` sees it."""

from __future__ import annotations

import itertools
import os
import pickle
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

from anabranch.core import secrets
from anabranch.core.asking import told
from anabranch.core.errors import RunnerError
from anabranch.core.events import WAIT, ChunkLost
from anabranch.core.reports import Report
from anabranch.runners.dask.blocks import ArrivedBlock, Blocks, Scattered, combine, encode
from anabranch.runners.dask.worker_session import NOTES_KEPT, WorkerSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import ItemCancelled, ItemTimedOut
    from anabranch.core.log_lines import LogLine
    from anabranch.runners.placing.status_page import StatusPage
    from anabranch.runners.transport.payloads import Payload


SHARED_KEPT = 256  # shared values a worker remembers of one session
COMPRESS_FROM = 16 << 10  # the scheduler keeps a topic's last events: large ones are made small
PATIENCE = 0.02  # seconds that a task waits for another one before it leaves its place
WAIT_SECONDS = 20.0  # for a shared value that was asked for, three times
_numbers = itertools.count()


def gathered(worker: Any, parcel: Scattered) -> Payload | None:
    """A large shared value, brought from the worker that has it; None where it lies nowhere. From a task's thread."""
    from distributed.utils import sync

    async def bring() -> Any:
        if parcel.key not in worker.data:
            holders = (await worker.scheduler.who_has(keys=[parcel.key])).get(parcel.key)
            if not holders or (await worker.gather({parcel.key: holders}))["status"] != "OK":
                return None
        return worker.data.get(parcel.key)

    found: Payload | None = sync(worker.loop, bring)
    return found


class _Place:
    """A task's thread in its worker's pool. A task that waits for others gives it up: another one runs there.

    What `distributed.secede` does, but for the task's thread and not for the one that asks: a task may
    wait through a thread of its own, or on an event loop. It is not taken back: the chunk runs to its
    end beside the pool.
    """

    def __init__(self, worker: Any) -> None:
        from distributed.threadpoolexecutor import thread_state

        self._worker = worker
        self._thread = threading.current_thread()
        self._state = thread_state
        self._executor = getattr(thread_state, "executor", None)
        self._key: Any = worker.get_current_task()
        self._left = False

    def leave(self) -> None:
        """Let the pool start another thread; idempotent, from any thread."""
        from distributed.threadpoolexecutor import threads_lock
        from distributed.worker_state_machine import SecedeEvent

        with threads_lock:
            if self._left or self._executor is None:
                return
            self._left = True
            self._executor._threads.discard(self._thread)
            self._executor._adjust_thread_count()
        event = SecedeEvent(key=self._key, compute_duration=0.0, stimulus_id=f"anabranch-waits-{time.time()}")
        self._worker.loop.add_callback(self._worker.handle_stimulus, event)

    def end(self) -> None:
        """In the task's own thread, at its end: one that has left does not go on to the pool's next task."""
        if self._left:
            self._state.proceed = False


class DaskPort:
    """One execution of one chunk, as `run_chunk` sees it.

    A block either goes home in a report (small) or becomes part of the key's value, of which the
    driver may only hear once the key is about to exist. So a report with large values waits for
    the chunk's last one and becomes part of it: one block per stage.
    """

    in_process = False

    def __init__(
        self,
        mine: WorkerSession,
        session: str,
        chunk: Chunk,
        inline: dict[int, Payload | Scattered],
        inputs: Sequence[Blocks],
        worker: Any,
        page: StatusPage | None,
    ) -> None:
        self.tracks = page is not None  # wants to hear of every item: a death is blamed on the one that ran
        self._page = page
        self.worker = worker.name if isinstance(worker.name, str) else f"dask-{worker.name}"
        self.blocks = Blocks()
        self._mine = mine
        self.limit, self.cancelled = mine.state.limit, mine.state.cancelled
        self._chunk = chunk
        self._inline = inline
        self._inputs = dict(zip(dict.fromkeys(handle.chunk for handle, _ in chunk.inputs), inputs, strict=False))
        self._dask = worker
        self._place = _Place(worker)
        self._topic = f"anabranch-{session}"
        self._run = f"{os.getpid()}-{next(_numbers)}"
        self._waiting: list[Report] = []
        self._upto = 0  # positions reported
        self.reading_ns = 0  # how long the chunk took to unpickle
        self._logs: list[tuple[Any, ...]] = []

    def begin(self) -> None:
        with self._mine.lock:
            self._mine.seen[self._chunk.id] = None
            while len(self._mine.seen) > NOTES_KEPT:
                self._mine.seen.popitem(last=False)
        if self._page is not None:
            self._page.note(self._chunk.id, 0, -1, 0, 0.0)
        self._send(("start", self._chunk.id, self._run, self.worker, self._dask.address))

    def end(self) -> Blocks:
        """What stays here. The port lets go of it: a task's context may hold the port until garbage is collected."""
        blocks, self.blocks = self.blocks, Blocks()
        self._inputs, self._waiting = {}, []
        self._place.end()
        with self._mine.lock:
            self._mine.state.forget(self._chunk.id)
            if self._page is not None:
                self._mine.pages.append(self._page)
        return blocks

    def _send(self, *messages: tuple[Any, ...]) -> None:
        data = pickle.dumps(messages, protocol=5)
        small = zlib.compress(data, 1) if len(data) >= COMPRESS_FROM else b""
        self._dask.log_event(self._topic, b"z" + small if small else b"p" + data)

    # -- WorkerPort ------------------------------------------------------------------------------

    def shared(self, shared_id: int) -> Any:
        mine = self._mine
        while True:
            with mine.lock:
                if shared_id in mine.shared:
                    mine.shared.move_to_end(shared_id)
                    return mine.shared[shared_id]
                busy = mine.loading.get(shared_id)
                if busy is None:
                    mine.loading[shared_id] = threading.Event()
                    break
            busy.wait()  # another thread of this worker is at it
        try:
            value = self._loaded(shared_id)
            with mine.lock:
                mine.shared[shared_id] = value
                while len(mine.shared) > SHARED_KEPT:
                    mine.shared.popitem(last=False)
            return value
        finally:
            mine.loading.pop(shared_id).set()

    def _loaded(self, shared_id: int) -> Any:
        """The value that came with the chunk, lies on some worker, or is asked for."""
        parcel, missed = self._inline.get(shared_id), ""
        for _ in range(4):
            if isinstance(parcel, Scattered):
                missed = parcel.key
                parcel = gathered(self._dask, parcel)
            if parcel is not None:
                return parcel.content()
            parcel = self._ask(shared_id, missed)
            if parcel is None:
                break
        raise RunnerError(f"the driver gave nothing for the shared id {shared_id}: it was dropped, or is out of reach")

    def _ask(self, shared_id: int, missed: str) -> Payload | Scattered | None:
        mine = self._mine
        with mine.lock:
            wait = mine.waits[shared_id] = threading.Event()
        for _ in range(3):
            self._send(("want", shared_id, missed, self._dask.address))
            if wait.wait(WAIT_SECONDS):
                break
        with mine.lock:
            mine.waits.pop(shared_id, None)
            return mine.given.pop(shared_id, None)

    def values(self, handle: BlockHandle) -> Sequence[Any]:
        return self._inputs[handle.chunk].values[handle.stage, handle.first]

    def unreadable(self) -> ChunkLost | None:
        """The chunk's end where values from elsewhere do not unpickle: their readers fail before any item begins."""
        bad: dict[int, str] = {}
        for number, (handle, slot) in enumerate(self._chunk.inputs):
            block = self.values(handle)
            if isinstance(block, ArrivedBlock):
                try:
                    block[slot]
                except Exception as error:  # whatever a value's own code raises
                    bad[number] = told(error)
        if not bad:
            return None
        wants = self._chunk.wants.items()
        suspects = tuple([position for position, wanted in wants if not bad.keys().isdisjoint(wanted)])
        why = secrets.mask("; ".join(dict.fromkeys(bad.values())))
        text = f"a value that it reads does not unpickle on the worker: {why}"
        return ChunkLost(self._chunk.id, "unserializable", text, suspects)

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        """For blame alone: what may have to be stopped runs in a child."""
        if self._page is not None:
            self._page.note(chunk, stage, position, attempt, timeout or 0.0)

    def log(self, lines: list[LogLine], dropped: int) -> None:
        self._logs.append(("log", lines, dropped))  # leaves with the report that follows

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        def send(number: int) -> None:
            self._send(("request", number, chunk, position, kind, payload, self._dask.address))

        patience = PATIENCE if kind == WAIT else None
        return self._mine.requests.ask(send, patience, self._place.leave)

    def stopped(self, lost: ChunkLost, item: ItemTimedOut | ItemCancelled | None) -> None:
        """Its child is dead; values that waited for the chunk's last report leave with an empty one."""
        self._logs.append(("stopped", self._run, lost, item))
        self.report(Report(self._chunk.id, self._upto, 0, True, worker=self.worker))

    def report(self, report: Report) -> None:
        self._upto = report.first + report.count
        messages, self._logs = self._logs, []
        if report.final:
            whole = combine([*self._waiting, report])
            self._waiting = []
            encode(whole, self._chunk.inline_limit, self.blocks)
            messages.append(("report", self._run, whole))
        elif self._waiting or not encode(report, self._chunk.inline_limit, None):
            self._waiting.append(report)
        else:
            messages.append(("report", self._run, report))
        if messages:
            self._send(*messages)
