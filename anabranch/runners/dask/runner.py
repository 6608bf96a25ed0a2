"""Chunks on a Dask cluster: values stay on the workers, reports come as events, keys are our own.

    driver                                                       Dask
    ------                                                       ----
    submit put release shorten --> actions --+                   scheduler
                                             v                     |
    sink <------------------- serve thread: chunks in flight --map--> worker: worker.run
                                             ^                     |     |
    fetch --pick, gather--+                  +--- topic, key states <----+
                          +---------------------------------------> blocks

One thread owns what is in flight and alone makes the client send; everybody else, the client's
loop included, only appends to `actions`. Reports are events of a topic (`Worker.log_event`) and not
results, because values must stay where they are and a chunk tells before it ends. A final report
travels the same stream as the end of its key, ahead of it: one that speaks of held blocks waits for
"key in memory", so the driver never hears of a value that died with its worker before it was kept.

When a worker dies, an own cluster gives its keys back at once (allowed-failures 0), what ran is read from
the worker's pages (pages), and the dispatcher sends again what was not confirmed. On a borrowed
cluster Dask runs a key again by itself: as soon as that is heard it is stopped, and what was not accepted
comes as another attempt, numbered and counted by us. Of keys in memory Dask is made to forget how they
came about: what dies with its worker is reported as lost, and made again by another attempt. (In the
milliseconds before that, or where a scheduler runs nothing for its clients, Dask computes it again;
blocks that come out different are reported as lost.)
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import threading
import uuid
from time import monotonic
from typing import TYPE_CHECKING, Any

from anabranch.core.contracts import Capabilities
from anabranch.core.errors import ResultReleased, RunnerError, ValueLost
from anabranch.core.events import EngineLost, SlotsChanged
from anabranch.core.machine import usable_cpus
from anabranch.core.own_runners import OwnRunner
from anabranch.core.showing import Facts, life, resource_rows
from anabranch.core.surroundings import Driver
from anabranch.runners.dask import worker as worker_half
from anabranch.runners.dask.demand import DemandWords
from anabranch.runners.dask.in_flight import InFlight
from anabranch.runners.dask.link import Link, require
from anabranch.runners.dask.sending import Outgoing
from anabranch.runners.entry import WORKER, local_cluster, named_cluster
from anabranch.runners.placing.serve_thread import TICK, ServeThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.clusters import Demand
    from anabranch.core.events import Event

log = logging.getLogger("anabranch.runners")

CHUNK_SECONDS = 0.4  # of work: a worker takes 5 ms from the end of a task to the next one
PICK_BYTES = 1 << 20  # values below that are brought without their block
ORDERED = {"note", "answer", "drop", "release", "call", "end"}  # come after the chunks said before them
ANYWAY = {"call", "slots"}  # also where the engine is lost


class DaskRunner(OwnRunner):
    """Runs chunks on Dask workers; the cluster is started here, or borrowed and left as it is.

    Args:
        cluster: a cluster object with a `scheduler_address` (`SlurmCluster`, any of Dask's), or the name of one that
            ``anabranch cluster start NAME`` has started.
        address: a scheduler's address; None, and nothing else given: that of the variable ``DASK_SCHEDULER_ADDRESS``,
            where it is set, as for any client of Dask, else a cluster of our own.
        client: a `distributed.Client`; a connection of our own to its scheduler is used.
        security: a `distributed.Security` with the certificates for ``tls://`` addresses; None: that of the
            cluster or client.
        n_workers: processes of an own local cluster; None: the processors this process may use.
        threads_per_worker: of an own local cluster.
        run_chunk: the worker's half, as ``module:name``.

    Borrowed clusters are never closed, scaled or configured. Items of tasks with a time limit run in
    child processes of Dask's workers (`get_worker` finds none there), and are stopped at their limit or
    when they are cancelled by force, whatever they are doing; other items run to their end once
    they have begun. A task that waits for others leaves its worker's pool, so that these can run.
    """

    def __init__(
        self,
        cluster: Any = None,
        *,
        address: str | None = None,
        client: Any = None,
        security: Any = None,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        run_chunk: str = WORKER,
    ) -> None:
        if (cluster, address, client, n_workers) == (None,) * 4 and threads_per_worker == 1:
            address = os.environ.get("DASK_SCHEDULER_ADDRESS") or None
        given = [name for name, x in (("cluster", cluster), ("address", address), ("client", client)) if x is not None]
        if len(given) > 1 or (given and n_workers is not None):
            raise ValueError(f"DaskRunner takes one of cluster, address, client and n_workers, got {', '.join(given)}")
        if security is not None and not given:
            raise ValueError("security is for a cluster that is lent: an own one listens on loopback only")
        if (n_workers is not None and n_workers < 1) or threads_per_worker < 1:
            got = f"{n_workers} and {threads_per_worker}"
            raise ValueError(f"n_workers and threads_per_worker must be greater than 0, got {got}")
        self._lent = cluster if cluster is not None else client
        self._address = address
        self._security = security
        self._n_workers = n_workers or usable_cpus()
        self._threads = threads_per_worker
        self._entry = run_chunk
        self._own = self._lent is None and address is None
        self._around = Driver()
        self._session = uuid.uuid4().hex[:12]
        self._sink: Callable[[Sequence[Event]], None] | None = None
        self._serving = ServeThread("dask")
        self._put = self._serving.put
        self._link: Link
        self._outgoing: Outgoing
        self._flight: InFlight
        self._gone: set[BlockHandle] = set()  # released, the serve thread has not come to it
        self._slots = 0
        self._offers: dict[str, float] = {}
        self._closing = threading.Lock()
        self._closed = self._ending = self._dead = False
        self._look_at = 0.0  # whether the scheduler is still there, and which workers
        self._demand = DemandWords(self._session)

    def __repr__(self) -> str:
        where = self._address or (f"n_workers={self._n_workers}" if self._lent is None else repr(self._lent))
        return f"DaskRunner({where})"

    def facts(self) -> Facts:
        started = self._serving.started
        status = life(started=started, closed=self._closed, lost=self._link.lost if started and self._dead else "")
        cluster = "a cluster of its own on this machine" if self._own else self._address or repr(self._lent)
        slots = self._slots if started else self._n_workers * self._threads if self._own else None
        rows = (("cluster", cluster, ""), ("slots", slots, ""), *resource_rows(self._offers, "a worker"))
        ours = self._own or hasattr(self._lent, "pages")  # these have no such page
        page = "" if ours or not started or self._closed else self._link.dashboard
        return Facts("DaskRunner", status=status, rows=rows, dashboard=page)

    # -- life ------------------------------------------------------------------------------------

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        """Connect (or start the cluster) and see that its workers fit; raises RunnerError, VersionMismatch."""
        if self._sink is not None or self._closed:
            raise RunnerError("A DaskRunner starts only once. Create a new one.")
        require()
        self._sink = sink
        address, security, own = self._address, self._security, None
        if isinstance(self._lent, str):
            self._lent = named_cluster(self._lent)
        if self._lent is not None:
            address = getattr(self._lent, "scheduler_address", None) or self._lent.scheduler.address
            security = security or getattr(self._lent, "security", None)
        elif address is None:
            own = local_cluster(self._n_workers, self._threads)
        self._around = Driver()  # as a cluster of its own begins
        link = self._link = Link(address, security, own, self._put)
        self._demand.wanted = bool(getattr(self._lent, "elastic", False))
        try:
            if own is not None:
                link.client.wait_for_workers(self._n_workers, timeout=60)
            # Nobody there yet (a cluster that grows on demand): one slot, so that there is a demand.
            self._slots = sum(link.check().values()) or 1
            declared, self._offers = link.resources()
            link.watch(f"anabranch-{self._session}")
        except BaseException:
            link.close()
            raise
        pages = own.pages if own is not None else ""
        self._outgoing = Outgoing(
            link.client, self._session, self._entry, declared, direct=own is not None, pages=pages
        )
        self._outgoing.reachable = bool(link.workers)
        self._flight = InFlight(link, self._outgoing, self._session, self._gone, self._put, pages)
        more: dict[str, Callable[..., None]] = {"call": link.after, "slots": self._change_slots}
        self._serving.start({**self._flight.actions(), **more}, self._turn)
        gc.collect()  # the engine has made 100,000 objects: else Python looks at all of them during the first submits
        return Capabilities(
            "dask", values="held", values_survive_workers=False, stops_items=True, resources_elastic=own is None,
            resources=tuple(sorted(self._offers.items())), chunk_seconds=CHUNK_SECONDS,
        )  # fmt: skip

    def slots(self) -> SlotsChanged:
        """Threads of all workers; how many a borrowed cluster may come to have is unknown."""
        return SlotsChanged(self._slots, self._n_workers * self._threads if self._own else None)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Take back what has not started, wait for what runs, let go of keys and connection; ends an own cluster."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        if not self._serving.started:
            return
        if not cancel and not self._serving.inside:
            self._put(("end",))
            self._serving.idle.wait(timeout)
        self._serving.end(30.0)
        self._sink = None
        if not self._dead and self._link.answers:
            self._link.tell(worker_half.forget, self._session, None)
        self._link.close()
        self._flight.sent.clear()

    # -- what callers say ------------------------------------------------------------------------

    def ask_for_demand(self, look: Callable[[], Demand]) -> None:
        """Tell a cluster that grows with the work what the dispatcher has for it, from now on."""
        self._demand.look = look

    def put(self, shared_id: int, value: Any) -> None:
        self._outgoing.put(shared_id, value)
        self._around.put(shared_id, value)

    def drop(self, shared_ids: Iterable[int]) -> None:
        gone = tuple(shared_ids)
        self._around.drop(gone)
        self._put(("drop", gone))

    def submit(self, chunks: Sequence[Chunk]) -> None:
        if self._closed or not self._serving.started:
            raise RunnerError(f"this DaskRunner {'is closed' if self._closed else 'was not started'}")
        if self._dead:
            raise RunnerError(self._link.lost or "the Dask cluster was lost")
        now = self._around.look()
        if now.number and self._own:
            self._outgoing.around.update((chunk.id, self._around.of(chunk.stages, now)) for chunk in chunks)
        elif now.number:
            self._around.not_ours("Dask")
        self._put(("submit", tuple(chunks)))

    def shorten(self, chunk: int, keep: int) -> None:
        self._put(("note", chunk, max(keep, 0), None))

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        """Positions that have not started; with `force` also one that runs, where it has a time limit."""
        self._put(("note", chunk, None, None if positions is None else tuple(positions), force))

    def release(self, handles: Iterable[BlockHandle]) -> None:
        gone = tuple(handles)
        self._gone.update(gone)
        self._put(("release", gone))

    def when_told(self, call: Callable[[], None]) -> None:
        """Call it once the notes given before (shorten, cancel) have reached their workers; for tests."""
        self._put(("call", call))

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        """Nothing to do: a task that waits leaves its worker's pool itself."""

    def fetch(self, handle: BlockHandle, slots: Sequence[int]) -> list[Any]:
        sent = self._flight.sent.get(handle.chunk)
        if sent is None or handle not in sent.held or handle in self._gone:
            raise ResultReleased(f"the values of {handle} were released")
        client, future, (nbytes, count) = self._link.client, sent.future, sent.held[handle]
        data: bytes | None = None
        block: list[Any] = []
        try:
            if sent.address and nbytes * len(slots) <= PICK_BYTES * max(count, 1):
                # Beside the tasks: a worker busy for an hour answers all the same.
                found = client.run(
                    worker_half.pick, sent.key, handle, list(slots), workers=[sent.address], on_error="ignore"
                )
                data = (found or {}).get(sent.address)
            if not isinstance(data, bytes):
                data, block = None, client.gather(future).values[handle.stage, handle.first]
        except Exception as error:
            if handle in self._gone:
                raise ResultReleased(f"the values of {handle} were released") from None
            # Its worker may have died, which is not told yet; where the scheduler is lost, nothing will be told.
            kind = RunnerError if self._dead or self._link.lost or self._closed else ValueLost
            raise kind(f"cannot bring {handle} from Dask: {type(error).__name__}: {error}") from error
        # What fails from here on is a value that does not unpickle: it is not lost.
        return [block[slot] for slot in slots] if data is None else list(pickle.loads(data))

    # -- the serve thread --------------------------------------------------------------------------

    def _turn(self, actions: list[tuple[Any, ...]], going: bool) -> None:
        if monotonic() >= self._look_at:
            self._look_at = monotonic() + TICK
            self._look()
        fresh: list[Chunk] = []
        for action in actions:
            if action[0] == "submit":
                fresh.extend(action[1])
                continue
            if fresh and action[0] in ORDERED:
                self._act("send", fresh)
                fresh = []
            self._act(*action)
        if fresh:
            self._act("send", fresh)
        if not going:
            self._act("stop")
        if self._ending and not self._flight.open:
            self._serving.idle.set()
        events, self._flight.out = self._flight.out, []
        self._serving.deliver(self._sink, events)
        self._flight.settle()

    def _act(self, kind: str, *args: Any) -> None:
        self._ending = self._ending or kind == "end"
        if not self._dead or kind in ANYWAY:
            self._serving.act(kind, *args)

    def _change_slots(self, threads: int) -> None:
        self._slots = threads or (0 if self._link.misfits else 1)
        self._outgoing.reachable = threads > 0
        if not self._own:  # others may bring workers of another kind
            self._outgoing.declared, self._offers = self._link.resources()
        slots = self.slots()
        self._flight.out.append(SlotsChanged(slots.now, slots.maximum, self._offers))

    def _look(self) -> None:
        why = self._link.lost or self._link.unfit
        if why and not self._dead and not self._closed:
            self._dead = True
            self._flight.give_up()
            self._flight.out.append(EngineLost(why))
        elif self._link.cut and not self._closed:
            log.warning("dask: the connection to the scheduler broke and is back: what it had is sent again")
            self._link.mend()
            self._outgoing.cut()
            self._flight.cut()
        if not self._dead:
            self._link.poll()
            self._demand.tell(self._link, monotonic())
