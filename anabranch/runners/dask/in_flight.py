"""Chunks in flight on Dask, and blocks held there: what the serve thread of a `DaskRunner` knows and decides.

    chunk: sent --start--> running --report (small)--> ... --final, small-------------> ended
                                   --final, held--> pending --"memory"--> held --released--> ended
           any of these, before the end: erred, given up, begun again ----> ChunkLost / ValuesLost

Not locked: every method runs on the serve thread. `sent` is looked at, never changed, by `fetch`.
"""

from __future__ import annotations

import pickle
import zlib
from typing import TYPE_CHECKING, Any, ClassVar

from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import SerializationError, VersionMismatch
from anabranch.core.events import (
    ChunkLost,
    ChunkStarted,
    ItemCancelled,
    ItemTimedOut,
    Logs,
    ValuesLost,
    WorkerJoined,
    WorkerLost,
    WorkerRequest,
)
from anabranch.core.reports import Held, Report
from anabranch.runners.dask import worker as worker_half
from anabranch.runners.dask.pages import running_at
from anabranch.runners.dask.sending import SentChunk
from anabranch.runners.transport.requests import answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.chunks import Chunk
    from anabranch.core.events import Event
    from anabranch.core.log_lines import LogLine
    from anabranch.runners.dask.link import Link
    from anabranch.runners.dask.sending import Outgoing
    from anabranch.runners.placing.status_page import Running

DEATHS_KEPT = 1000


class InFlight:
    """Takes actions in, leaves events in `out`."""

    def __init__(
        self, link: Link, outgoing: Outgoing, session: str, gone: set[BlockHandle], put: Callable[[Any], None],
        pages: str = "",
    ) -> None:  # fmt: skip
        self.sent: dict[int, SentChunk] = {}  # chunks in flight, and those whose blocks are held
        self.open = 0  # of them, in flight
        self.out: list[Event] = []
        self._kept: list[str] = []  # keys of new blocks
        # Chunks that workers refused because they do not fit, with the error, and how many looks are to come
        # until the workers that do fit are known.
        self._turned_away: list[tuple[SentChunk, BaseException, int]] = []
        self._link = link
        self._outgoing = outgoing
        self._session = session
        self._gone = gone
        self._put = put
        self._pages = pages  # the folder in which workers note what they run; "" for none
        self._deaths: dict[str, frozenset[int]] = {}  # worker -> chunks that ran there when it died
        self._culprits: dict[int, Running] = {}  # chunk -> the one item that ran when its worker died
        self._starved: dict[str, int] = {}  # worker that was ended for its memory -> bytes it had then

    def actions(self) -> dict[str, Callable[..., None]]:
        """What callers and Dask may bring, by its name."""
        return {
            "send": self.on_send,
            "drop": self.on_drop,
            "release": self.on_release,
            "note": self.on_note,
            "noted": self.on_noted,
            "stop": self.on_stop,
            "end": self.on_end,
            "event": self.on_event,
            "answer": self.on_answer,
            "memory": self.on_memory,
            "erred": self.on_erred,
            "looked": self.on_looked,
            "fit": self.on_fit,
            "starved": self.on_starved,
            "gone": self.on_gone,
            "restart": self.on_restart,
            "worker": self.on_worker,
        }

    def on_send(self, chunks: list[Chunk]) -> None:
        """One call of the client for all that are alike; what cannot be sent is lost, and says why."""
        records = [SentChunk(chunk, self._outgoing.key(chunk.id)) for chunk in chunks]
        for sent in records:
            self.sent[sent.id] = sent  # before it is sent: it may be done before `map` returns
        self.open += len(records)
        for sent, reason, message in self._outgoing.send(records, self.sent):
            self._lose(sent, reason, message)
        self._link.follow([sent.future for sent in records if sent.future is not None])

    def _lose(self, sent: SentChunk, reason: str, message: str, suspects: tuple[int, ...] | None = None) -> None:
        running = self._culprits.get(sent.id)
        self._forget(sent)
        died = reason in ("worker-lost", "out-of-memory")
        alone = died and self._deaths.get(sent.address) == frozenset((sent.id,))
        if died and running is not None and running.position >= sent.reported:
            suspects = (running.position,)
        stage = running.stage if running is not None and suspects else 0
        self.out.append(ChunkLost(sent.id, reason, message, suspects, alone, stage))

    def _forget(self, sent: SentChunk) -> None:
        """The chunk has ended and nothing of it is held: its key may go."""
        if self.sent.pop(sent.id, None) is not None and not sent.final:
            self.open -= 1
        self._culprits.pop(sent.id, None)
        sent.future = None

    # -- actions: from callers ---------------------------------------------------------------------

    def on_drop(self, shared_ids: tuple[int, ...]) -> None:
        if travelled := self._outgoing.drop(shared_ids):
            self._link.tell(worker_half.forget, self._session, travelled)

    def on_release(self, handles: tuple[BlockHandle, ...]) -> None:
        for handle in handles:
            self._gone.discard(handle)
            sent = self.sent.get(handle.chunk)
            if sent is not None and sent.held.pop(handle, None) is not None and sent.final and not sent.held:
                self._forget(sent)

    def on_note(self, chunk: int, keep: int | None, positions: tuple[int, ...] | None, force: bool = False) -> None:
        sent = self.sent.get(chunk)
        if sent is None or sent.final:
            return
        everything = keep == 0 or (keep is None and positions is None)
        if sent.address:
            self._link.tell(worker_half.note, self._session, chunk, keep, positions, force, workers=[sent.address])
        else:
            answer = ("noted", chunk) if everything else ()
            self._link.tell(worker_half.note, self._session, chunk, keep, positions, force, answer=answer)

    def on_noted(self, chunk: int, answers: dict[str, bool] | None) -> None:
        """All workers know that nothing of it is to start: if none has begun it, none will."""
        sent = self.sent.get(chunk)
        if sent is not None and answers is not None and not sent.run and not any(answers.values()):
            self._give_back(sent)

    def _give_back(self, sent: SentChunk) -> None:
        """None of it was started."""
        self._forget(sent)
        self.out.append(Report(sent.id, 0, 0, True))

    def on_stop(self) -> None:
        """The end: what is still in flight is lost."""
        for sent in [s for s in self.sent.values() if not s.final]:
            self._lose(sent, "stopped", "the runner was closed while it ran")

    def cut(self) -> None:
        """The scheduler has dropped all our keys: what was in flight is lost, and so is what was held."""
        for sent in list(self.sent.values()):
            self.on_gone(sent.key, "the connection to the scheduler broke")

    def give_up(self) -> None:
        """The engine is lost: nothing more is told of anything."""
        self.sent.clear()
        self.open = 0

    def on_end(self) -> None:
        for sent in [s for s in self.sent.values() if not s.final and not s.run]:
            self.on_note(sent.id, 0, None)

    # -- actions: from Dask ------------------------------------------------------------------------

    def on_event(self, data: bytes) -> None:
        messages = pickle.loads(zlib.decompress(data[1:]) if data[:1] == b"z" else data[1:])
        for message in messages:
            self.HEARS[message[0]](self, *message[1:])

    def _hear_start(self, chunk: int, run: str, worker: str, address: str) -> None:
        sent = self.sent.get(chunk)
        if sent is None:
            return
        if sent.final:
            sent.again, sent.address = run, address
            return
        if sent.run:
            self._again_refused(sent, address)
            return
        sent.run, sent.address, sent.pending = run, address, None
        self.out.append(ChunkStarted(chunk, worker))

    def _again_refused(self, sent: SentChunk, address: str) -> None:
        """Dask runs again by itself what a dead worker had begun: stopped, what is missing comes as another attempt."""
        self._link.tell(worker_half.note, self._session, sent.id, 0, None, workers=[address])
        self._lose(sent, *self._end_of(sent.address, f"its worker {sent.address} was lost"))

    def _end_of(self, address: str, otherwise: str) -> tuple[str, str]:
        """Why a worker is dead, as (reason, words)."""
        peak = self._starved.get(address)
        if peak is None:
            return "worker-lost", otherwise
        return "out-of-memory", f"peak {peak >> 20} MB, when its nanny ended the Dask worker {address}"

    def _hear_report(self, run: str, report: Report) -> None:
        sent = self.sent.get(report.chunk)
        if sent is None:
            return
        held = {
            BlockHandle(sent.id, stage, report.first): (block.nbytes, report.count)
            for stage, block in enumerate(report.blocks)
            if isinstance(block, Held)
        }
        if sent.final:
            if run == sent.again and report.final and not held.keys() >= sent.held.keys():
                self._values_lost(sent)  # computed again, and cut up differently
        elif run != sent.run:
            return
        elif held:
            sent.pending, sent.new = report, held
        elif report.final:
            self._forget(sent)
            self._last_word(sent, report)
        else:
            sent.reported = report.first + report.count
            self.out.append(report)

    def _hear_stopped(self, run: str, lost: ChunkLost, item: ItemTimedOut | ItemCancelled | None) -> None:
        sent = self.sent.get(lost.chunk)
        if sent is None or run != sent.run or sent.final:
            return
        sent.lost = lost
        if item is not None:
            self.out.append(item)

    def _last_word(self, sent: SentChunk, report: Report) -> None:
        """Take in the final report. After the death of its child it tells only what the chunk had done before."""
        if sent.lost is None:
            self.out.append(report)
            return
        report.final = False
        if report.count:
            self.out.append(report)
        self.out.append(sent.lost)

    def _hear_log(self, lines: list[LogLine], dropped: int) -> None:
        self.out.append(Logs(lines, dropped))

    def _hear_want(self, shared_id: int, missed: str, address: str) -> None:
        value = self._outgoing.given(shared_id, missed)
        self._link.tell(worker_half.give, self._session, shared_id, value, workers=[address])

    def _hear_request(self, number: int, chunk: int, position: int, kind: str, payload: Any, address: str) -> None:
        reply = answering(lambda good, data: self._put(("answer", address, number, good, data)))
        self.out.append(WorkerRequest(chunk, position, kind, payload, reply))

    HEARS: ClassVar[dict[str, Callable[..., None]]] = {
        "start": _hear_start,
        "report": _hear_report,
        "stopped": _hear_stopped,
        "log": _hear_log,
        "want": _hear_want,
        "request": _hear_request,
    }

    def on_answer(self, address: str, number: int, good: bool, data: bytes) -> None:
        # After the notes: a task that goes on must know what was taken back behind it.
        link, session = self._link, self._session
        link.after(lambda: link.tell(worker_half.answer, session, number, good, data, workers=[address]))

    def on_memory(self, key: str, _: Any) -> None:
        sent = self._by_key(key)
        if sent is None or sent.final:
            return
        if sent.pending is None:
            self._lose(sent, "worker-lost", "it ended without a final report")
            return
        sent.final = True
        self.open -= 1
        sent.held, report = sent.new, sent.pending
        sent.pending = None
        self._kept.append(sent.key)
        self._last_word(sent, report)

    def settle(self) -> None:
        """See that Dask does not run the chunks of new blocks again when it loses them: attempts are the driver's."""
        if self._kept:
            self._link.tell_scheduler(worker_half.values_only, keys=self._kept)
            self._kept = []

    def on_erred(self, key: str, error: BaseException | None) -> None:
        sent = self._by_key(key)
        if sent is None:
            return
        if sent.final:
            self._values_lost(sent)
            return
        if isinstance(error, SerializationError):
            self._lose(sent, "unserializable", str(error))
            return
        if isinstance(error, (VersionMismatch, ImportError)):  # of our own code: what the user's lacks, it tells itself
            self._turned_away.append((sent, error, 1))  # a look that has begun may not see the worker yet
            self._link.poll()
            return
        address = getattr(getattr(error, "last_worker", None), "address", "")
        if not address:
            self._lose(sent, "worker-lost", f"{type(error).__name__}: {error}")
            return
        if address not in self._deaths:
            self._look_at_death(address)
        ran = self._deaths[address]
        innocent = bool(ran) and sent.id not in ran  # it waited there while another one ran
        sent.address = address
        text = f"the Dask worker {address} died"
        if innocent:  # of whatever the worker died: what waited there needs no less memory next time
            self._lose(sent, "worker-lost", text, ())
        else:
            self._lose(sent, *self._end_of(address, text))

    def _look_at_death(self, address: str) -> None:
        """Which chunks ran there, and if it was one alone, at which item of it."""
        noted = {n: running for n, running in running_at(self._pages, address).items() if self._open(n)}
        told = {s.id for s in self.sent.values() if s.address == address and not s.final}
        self._deaths[address] = frozenset(told | noted.keys())
        _bound(self._deaths)
        busy = {n: running for n, running in noted.items() if running.position >= 0}
        if len(busy) == 1:
            self._culprits.update(busy)

    def _open(self, chunk: int) -> bool:
        sent = self.sent.get(chunk)
        return sent is not None and not sent.final

    def on_looked(self) -> None:
        """The list of workers is fresh. Chunks that a misfit refused are queued again, uncounted."""
        away = [(sent, error, looks) for sent, error, looks in self._turned_away if self._open(sent.id)]
        self._turned_away = [(sent, error, looks - 1) for sent, error, looks in away if looks]
        for sent, error in [(sent, error) for sent, error, looks in away if not looks]:
            if not (isinstance(error, VersionMismatch) or self._link.misfits):
                self._lose(sent, "worker-lost", f"{type(error).__name__}: {error}")
            elif sent.run:  # a worker that has died had begun it
                self._lose(sent, "worker-lost", f"its worker {sent.address} was lost", ())
            else:
                self._give_back(sent)

    def on_fit(self, fitting: list[str] | None) -> None:
        """Only these workers may be sent to (None: all of them), so what waits for others is called back."""
        self._outgoing.only = fitting
        for sent in [s for s in self.sent.values() if s.bound and not (s.run or s.final)]:
            self.on_note(sent.id, 0, None)

    def on_starved(self, event: Any) -> None:
        """A nanny is about to end its worker; says so before the worker's keys err, unless its message is slow."""
        if isinstance(event, dict) and isinstance(event.get("rss"), int):
            self._starved[str(event.get("worker"))] = event["rss"]
            _bound(self._starved)

    def on_gone(self, key: str, reason: Any) -> None:
        """Dask gave the key up: something it needed is lost, or somebody else cancelled it."""
        sent = self._by_key(key)
        if sent is None:
            return
        if sent.final:
            self._values_lost(sent)
        else:
            self._lose(sent, "worker-lost", f"Dask gave it up: {reason or 'cancelled'}")

    def on_restart(self) -> None:
        for sent in list(self.sent.values()):
            self.on_gone(sent.key, "the cluster was restarted")

    def _values_lost(self, sent: SentChunk) -> None:
        self._forget(sent)
        self.out.append(ValuesLost(tuple(sent.held)))

    def _by_key(self, key: Any) -> SentChunk | None:
        chunk = self._outgoing.chunk_of(key)
        return None if chunk is None else self.sent.get(chunk)

    def on_worker(self, joined: bool, address: str) -> None:
        if joined:
            self._deaths.pop(address, None)  # an address that is used again
            self._starved.pop(address, None)
        self.out.append(WorkerJoined(address) if joined else WorkerLost(address, "it left the cluster"))
        if not joined:  # where blocks are now, Dask knows
            for sent in self.sent.values():
                if sent.final and sent.address == address:
                    sent.address = ""


def _bound(notes: dict[str, Any]) -> None:
    """Forget the oldest: a run may outlive many workers."""
    while len(notes) > DEATHS_KEPT:
        del notes[next(iter(notes))]
