"""The worker's half of `RayRunner`: one actor a slot, importable wherever anabranch is.

    driver ----run-----> default group: run_chunk(chunk, port), one chunk at a time
           ----tell----> group "control": limits, cancels, answers, drops, beside the chunk
           <--listen---- group "listen": a call that waits for something to tell, see outbox

What runs is noted in a file of the node (page), so that the item that kills its actor is known.
Items with a time limit run in a child of the actor (children), which can be stopped.
"""

from __future__ import annotations

import os
import pickle
import threading
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from anabranch.core import left_to_driver, native_threads
from anabranch.core.reports import Held
from anabranch.core.script import be_a_worker
from anabranch.core.surroundings import Worker
from anabranch.runners.entry import resolve
from anabranch.runners.placing.port_state import PortState, bound
from anabranch.runners.process.children import Children, needs_child
from anabranch.runners.ray.blocks import StoredBlock, encode
from anabranch.runners.ray.link import be_plain_in_copies
from anabranch.runners.ray.outbox import Outbox
from anabranch.runners.ray.page import new_page
from anabranch.runners.transport import versions as transport_versions
from anabranch.runners.transport.payloads import Payload
from anabranch.runners.transport.refusals import raised
from anabranch.runners.transport.requests import Requests, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import ChunkLost, ItemCancelled, ItemTimedOut
    from anabranch.core.log_lines import LogLine
    from anabranch.core.reports import Report
    from anabranch.runners.placing.status_page import StatusPage
    from anabranch.runners.transport.value_files import Pickled

DROPPED_KEPT = 256  # shared values that may come with a call that was on its way as they were dropped

GROUPS = {"control": 1, "listen": 1}


def versions() -> dict[str, str]:
    """What has to agree between driver and workers."""
    import ray

    return transport_versions.versions(ray=ray.__version__)


compare = partial(transport_versions.compare, "Ray")


class RayWorker:
    """The actor: what the driver calls."""

    def __init__(self, name: str, entry: str) -> None:
        # Ray sets the first to the actor's processors; joblib and loky count by the second.
        os.environ.setdefault(native_threads.COUNTED, os.environ.get(native_threads.VARIABLES[0], "1"))
        be_a_worker(pickle.loads)
        be_plain_in_copies()
        self._leaves_signals = left_to_driver.are_blocked()  # by the cluster of an allocation, for all that it starts
        if self._leaves_signals:
            left_to_driver.leave_signals_to_the_driver()
        self._page, page = new_page() or ("", None)
        self._children = Children(entry)
        self._port = RayPort(name, page, self._children)
        self._entry = entry
        self._around = Worker()
        self._begun = 0  # calls of `run`, which come in the order of their numbers
        self._returned: set[int] = set()  # calls that the driver took back before they began

    def hello(self) -> tuple[dict[str, str], str, str]:
        """Versions, the node it is on, and where it notes what it runs."""
        import ray

        return versions(), ray.get_runtime_context().get_node_id(), self._page

    def run(
        self,
        number: int,
        chunk_id: int,
        payload: Payload,
        shared: dict[int, Any],
        inputs: list[tuple[BlockHandle, Any]],
        limit: int | None,
        cancelled: set[int] | None,
        small: bool,
    ) -> None:
        """Run a chunk.

        `shared`: values that it needs and this worker has not got; `inputs`: blocks that it reads; `small`:
        whether the driver has room for small blocks.
        """
        if self._leaves_signals:
            left_to_driver.unblock()  # in the thread of the items: a program that one starts can be ended
        port = self._port
        port.small = small
        with port.lock:
            self._begun = number
            port.bring(shared)  # of a call taken back too: one behind it, which was not, may count on them
            if number in self._returned:
                self._returned.discard(number)
                return
            if limit is not None:
                port.hear_limit(chunk_id, limit)
            if cancelled is None or cancelled:
                port.hear_cancel(chunk_id, cancelled)
        port.item(chunk_id, 0, -1, 0, None)
        port.say(("begun", chunk_id))
        reading = perf_counter_ns()
        try:
            chunk: Chunk
            chunk, around = payload.load(writable=True)
            self._around.enter(around)
        except BaseException as error:
            text = f"its arguments do not unpickle on the worker: {raised(error)}"
            port.say(("lost", chunk_id, "unserializable", text))
            return
        port.reading_ns = perf_counter_ns() - reading
        del payload
        try:
            if port.open(chunk_id, inputs):
                port.inline_limit = chunk.inline_limit
                port.unended = True
                if needs_child(chunk, port):
                    self._children.run(chunk, port)
                else:
                    resolve(self._entry)(chunk, port)
                if port.unended:
                    port.say(("lost", chunk_id, "worker-lost", "the worker's half came back without a final report"))
        except BaseException as error:  # SystemExit would end the actor
            reason = "unserializable" if isinstance(error, Exception) else "worker-lost"
            reason = "out-of-memory" if isinstance(error, MemoryError) else reason
            port.say(("lost", chunk_id, reason, f"the chunk could not be run: {raised(error)}"))
        finally:
            port.end(chunk_id)

    def listen(self, heard: int, refused: str | None) -> tuple[bytes, StoredBlock | None]:
        """What there is to tell: see `Outbox.batch`."""
        return self._port.outbox.batch(heard, refused)

    def tell(self, messages: Sequence[tuple[Any, ...]]) -> None:
        for kind, *fields in messages:
            if kind == "back":
                self._give_back(*fields)
            else:
                self._port.hears[kind](*fields)

    def _give_back(self, number: int, chunk_id: int) -> None:
        with self._port.lock:
            if number <= self._begun:
                return
            self._returned.add(number)
        self._port.say(("back", number, chunk_id))


class RayPort:
    """A worker's way to its driver, as `run_chunk` sees it."""

    in_process = False

    def __init__(self, worker: str, page: StatusPage | None, children: Children) -> None:
        self.worker = worker
        self._children = children
        self.tracks = page is not None  # wants to hear of every item: a death is blamed on the one that ran
        self.lock = threading.Lock()
        self.outbox = Outbox()
        self.say = self.outbox.say
        self.raw: dict[int, Any] = {}  # shared values that nobody looked at yet
        self.inline_limit = 1024
        self.small = True  # blocks that Ray would not put into its store may come
        self.unended = False
        self.reading_ns = 0  # how long the running chunk took to unpickle
        self._page = page
        self._shared: dict[int, Any] = {}
        self._dropped: dict[int, None] = {}
        self._inputs: dict[BlockHandle, StoredBlock] = {}
        self._state = PortState()
        self.limit, self.cancelled = self._state.limit, self._state.cancelled
        self._requests = Requests()
        self.hears: dict[str, Callable[..., None]] = {
            "limit": self.hear_limit,
            "cancel": self.hear_cancel,
            "drop": self.hear_drop,
            "reply": self._requests.reply,
        }

    # -- WorkerPort ------------------------------------------------------------------------------

    def bring(self, shared: dict[int, Any]) -> None:
        """Take in shared values, but those that were dropped while their call was on its way."""
        self.raw.update((shared_id, value) for shared_id, value in shared.items() if shared_id not in self._dropped)

    def shared(self, shared_id: int) -> Any:
        if shared_id not in self._shared:
            import ray

            raw = self.raw[shared_id]
            payload: Payload = raw if isinstance(raw, Payload) else ray.get(raw)
            self._shared[shared_id] = payload.load()
            self.raw.pop(shared_id, None)
        return self._shared[shared_id]

    def values(self, handle: BlockHandle) -> Sequence[Any]:
        return self._inputs[handle]

    def report(self, report: Report) -> None:
        blocks: list[tuple[int, StoredBlock]] = []

        def hold(stage: int, values: list[Pickled]) -> Held:
            block = StoredBlock.of(values, stored=not self.small)
            blocks.append((stage, block))
            return Held(block.nbytes)

        encode(report, self.inline_limit, hold)
        if report.final:
            self.unended = False
        self.outbox.report(report, blocks)

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        if self._page is not None:
            self._page.note(chunk, stage, position, attempt, timeout or 0.0)

    def log(self, lines: list[LogLine], dropped: int) -> None:
        self.say(("log", lines, dropped))

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        data = encoded(kind, payload)
        return self._requests.ask(lambda number: self.say(("request", number, chunk, position, kind, data)))

    def stopped(self, lost: ChunkLost, item: ItemTimedOut | ItemCancelled | None) -> None:
        self.unended = False
        self.say(("stopped", lost, item))

    # -- for the actor -----------------------------------------------------------------------------

    def open(self, chunk: int, inputs: list[tuple[BlockHandle, Any]]) -> bool:
        """See that the blocks are there that the chunk reads; False: some are not, which has been said."""
        import ray

        gone: list[BlockHandle] = []
        why = ""
        for handle, ref in inputs:
            try:
                self._inputs[handle] = ray.get(ref)
            except ray.exceptions.RayError as error:
                gone.append(handle)
                why = raised(error)
        if gone:
            self.say(("missing", chunk, gone, why))
        return not gone

    def end(self, chunk: int) -> None:
        self._inputs.clear()
        with self.lock:
            self._state.forget(chunk)

    # -- what the driver says ------------------------------------------------------------------------

    def hear_limit(self, chunk: int, keep: int) -> None:
        self._state.shorten(chunk, keep)
        self._children.shorten(chunk, keep)

    def hear_cancel(self, chunk: int, positions: set[int] | None, force: bool = False) -> None:
        """With `force` a position that runs in a child is stopped."""
        self._state.cancel(chunk, positions)
        self._children.cancel(chunk, None if positions is None else sorted(positions), force=force)

    def hear_drop(self, *shared_ids: int) -> None:
        for shared_id in shared_ids:
            self._shared.pop(shared_id, None)
            self.raw.pop(shared_id, None)
            self._dropped[shared_id] = None
            bound(self._dropped, DROPPED_KEPT)
        self._children.drop(shared_ids)

