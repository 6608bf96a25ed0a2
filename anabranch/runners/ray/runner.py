"""Chunks on Ray: actors of our own, a call a chunk; values stay in Ray's store, reports come in batches.

    driver                                                          Ray
    ------                                                          ---
    submit put release shorten --> actions --+
                                             v        --run, tell-->  actor, one a slot: worker
    sink <------------- serve thread: in_flight, news                      |        |
                                             ^        <--listen------ outbox     | large values
    fetch <--------------- ray.get ----------+-- references of blocks --+-- object store
                                   (inputs of later chunks: read there by the workers themselves)

One thread owns what is in flight and alone calls actors; everybody else, Ray's callbacks included,
only appends to `actions`. Each actor has two chunks at most: the first runs, the second can be taken
back. No call is ever repeated by Ray: a dead actor's chunk is lost, which the dispatcher counts. Blocks
are return values of the driver's own calls: they outlive their actor, and go with their node.
"""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING, Any

from anabranch.core.contracts import Capabilities
from anabranch.core.errors import ResultReleased, RunnerError, ValueLost
from anabranch.core.events import EngineLost, SlotsChanged
from anabranch.core.own_runners import OwnRunner
from anabranch.core.showing import Facts, life, resource_rows
from anabranch.core.surroundings import Driver
from anabranch.runners.entry import WORKER, named_ray
from anabranch.runners.placing.serve_thread import TICK, ServeThread
from anabranch.runners.ray.in_flight import InFlight
from anabranch.runners.ray.jobs import Outgoing
from anabranch.runners.ray.link import Link, require
from anabranch.runners.ray.news import ActorNews
from anabranch.runners.ray.nodes import Nodes
from anabranch.runners.ray.references import Values
from anabranch.runners.ray.worker_pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import Event

CHUNK_SECONDS = 0.4  # of work: an actor takes 2 ms from the end of a call to the next one
UP_SECONDS = 60.0  # for the first worker


class RayRunner(OwnRunner):
    """Runs chunks on actors of a Ray cluster; Ray is started here, or joined and left as it is.

    Args:
        address: of a running Ray; None: the one this process uses already, that of RAY_ADDRESS, or one
            of our own on this machine.
        cluster: an object with the `address` of a Ray (`RayOnKubernetes`, `SlurmAllocation`), which it may start then;
            or the name of a RayCluster that runs in Kubernetes already.
        num_cpus: how many chunks run at once, each on one processor of Ray's; None: all of the cluster's.
        run_chunk: the worker's half, as ``module:name``.

    Raises:
        ValueError: `num_cpus` is less than 1, or there are both an address and a cluster.

    A Ray that was here before is never shut down or configured, and workers come and go with its nodes.
    Values over 64 KiB stay in Ray's object store until they are released; they outlive their worker
    and are lost with its node. An item that kills its worker is known and blamed alone. Items that ask
    for ``gpus``, ``memory`` or Ray's custom resources run on workers that reserve them; ``cpus`` are
    counted by this runner. Synchronous items with a time limit run in child processes of the workers, and
    are stopped at their limit or when they are cancelled by force; of others `shorten` and `cancel` act on
    what has not started. A task that waits for others lends its place to an extra worker.
    """

    def __init__(
        self, address: str | None = None, num_cpus: int | None = None, *, cluster: Any = None, run_chunk: str = WORKER
    ) -> None:
        if cluster is not None and address is not None:
            raise ValueError("RayRunner takes one of address and cluster")
        if num_cpus is not None and num_cpus < 1:
            raise ValueError(f"num_cpus must be greater than 0, got {num_cpus}")
        self._address = address
        self._cluster = cluster
        self._num_cpus = num_cpus
        self._entry = run_chunk
        self._sink: Callable[[Sequence[Event]], None] | None = None
        self._serving = ServeThread("ray")
        self._put = self._serving.put
        self._outgoing = Outgoing()
        self._around = Driver()
        self._link: Link
        self._pool: WorkerPool
        self._in_flight: InFlight
        self._news: ActorNews
        self._values: Values
        self._gone: set[BlockHandle] = set()  # released, the serve thread has not come to it
        self._closing = threading.Lock()
        self._closed = self._dead = False
        self._up = threading.Event()  # there is a worker, or there will be none
        self._look_at = 0.0  # the pool

    def __repr__(self) -> str:
        return f"RayRunner(address={self._address!r}, num_cpus={self._num_cpus})"

    def facts(self) -> Facts:
        started = self._up.is_set()
        status = life(started=started, closed=self._closed, lost=self._link.lost if started and self._dead else "")
        where = self._address or (repr(self._cluster) if self._cluster is not None else "")
        if not started:
            return Facts("RayRunner", status=status, rows=(("address", where, ""), ("slots", self._num_cpus, "")))
        pool, known = self._pool, ("cpus", "gpus", "memory")
        slots = str(pool.size) if pool.ready == pool.size else f"{pool.ready} of {pool.size}"
        rows = (("address", where, ""), ("slots", slots, ""))
        offers = {name: amount for name, amount in pool.nodes.offers().items() if name in known}
        page = "" if self._closed else self._link.dashboard
        return Facts("RayRunner", status=status, rows=(*rows, *resource_rows(offers, "a node")), dashboard=page)

    # -- life ------------------------------------------------------------------------------------

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        """Join Ray (or start it) and wait for a worker; raises RunnerError, VersionMismatch, MissingExtraError."""
        if self._sink is not None or self._closed:
            raise RunnerError("A RayRunner starts only once. Create a new one.")
        require()
        self._sink = sink
        if isinstance(self._cluster, str):
            self._cluster = named_ray(self._cluster)
        address = self._address if self._cluster is None else self._cluster.address
        link = self._link = Link(address, self._num_cpus)
        self._around = Driver(link.began)
        try:
            self._begin(link)
            if not self._up.wait(UP_SECONDS):
                raise RunnerError(f"Ray gave no processor to a worker within {UP_SECONDS:g} s: all are taken")
            if self._news.failure is not None:
                raise self._news.failure
        except BaseException:
            if not self._serving.started:
                link.close()
            self.close(cancel=True)
            raise
        offers = tuple(sorted(self._pool.nodes.offers().items()))
        gc.collect()  # the engine has made 100,000 objects: else Python looks at all of them during the first submits
        return Capabilities(
            "ray", values="held", values_survive_workers=False, nested=True, stops_items=True,
            resources=offers, resources_elastic=not link.own, chunk_seconds=CHUNK_SECONDS,
        )  # fmt: skip

    def _begin(self, link: Link) -> None:
        nodes = Nodes(link.ray, self._put)
        if not (self._num_cpus or nodes.cpus):
            raise RunnerError("this Ray has no processors: say how many to use with num_cpus")
        self._outgoing.store = link.ray.put
        self._values = Values(self._gone)
        self._pool = WorkerPool(link.ray, nodes, self._num_cpus, self._entry, self._put)
        self._in_flight = InFlight(self._pool, self._outgoing, self._values)
        self._news = ActorNews(link.ray, self._in_flight, self._pool, self._put)
        self._in_flight.staff()
        self._serving.start({**self._in_flight.actions(), **self._news.actions()}, self._turn, lambda: link.lost)

    def slots(self) -> SlotsChanged:
        """Workers that are up, and how many there are to be."""
        return SlotsChanged(self._pool.ready, self._pool.size)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Take back what has not started, wait for what runs, end the actors; ends a Ray that was started here."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        if not self._serving.started:
            return
        self._put(("end",))
        if not cancel and not self._serving.inside:
            self._serving.idle.wait(timeout)
        self._serving.end(30.0)
        self._sink = None
        self._pool.nodes.close()
        if not self._news.headless:  # else nobody is there to be told, and actors end with their nodes
            self._pool.end_all()
        self._values.clear()
        self._outgoing.shared.clear()
        self._link.close(headless=self._news.headless)

    # -- what callers say ------------------------------------------------------------------------

    def put(self, shared_id: int, value: Any) -> None:
        self._outgoing.put(shared_id, value)
        self._around.put(shared_id, value)

    def drop(self, shared_ids: Iterable[int]) -> None:
        gone = tuple(shared_ids)
        self._around.drop(gone)
        self._put(("drop", gone))

    def submit(self, chunks: Sequence[Chunk]) -> None:
        if self._closed or not self._serving.started:
            raise RunnerError(f"this RayRunner {'is closed' if self._closed else 'was not started'}")
        now, of = self._around.look(), self._around.of
        if now.number and not self._link.own:
            self._around.not_ours("Ray")
        elif now.number:
            self._put(("submit", [self._outgoing.job(chunk, of(chunk.stages, now)) for chunk in chunks]))
            return
        self._put(("submit", [self._outgoing.job(chunk) for chunk in chunks]))

    def shorten(self, chunk: int, keep: int) -> None:
        self._put(("shorten", chunk, max(keep, 0)))

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        """Positions that have not started; with `force` also one that runs, where it has a time limit."""
        self._put(("cancel", chunk, None if positions is None else tuple(positions), force))

    def release(self, handles: Iterable[BlockHandle]) -> None:
        gone = tuple(handles)
        self._gone.update(gone)
        self._put(("release", gone))

    def when_told(self, call: Callable[[], None]) -> None:
        """Call it once the notes given before (shorten, cancel) have reached their workers; for tests."""
        self._put(("call", call))

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        """A task waits for others: its worker gets nothing more, and another one works meanwhile."""
        self._put(("blocked", worker_chunk, 1 if waiting else -1))

    def fetch(self, handle: BlockHandle, slots: Sequence[int]) -> list[Any]:
        """Values of a block, as copies; the block comes to this machine as a whole."""
        if self._closed:
            raise RunnerError(f"this RayRunner is closed, and the values of {handle} went with it")
        ref = self._values.find(handle)
        if ref is None:
            raise ResultReleased(
                f"the values of {handle} were released: keep a future to them, or read them before you let go of it"
            )
        try:
            block = self._link.ray.get(ref)
        except Exception as error:
            if handle in self._gone:
                raise ResultReleased(f"the values of {handle} were released") from None
            if isinstance(error, self._link.ray.exceptions.ObjectLostError):
                self._put(("lost", handle))
                raise ValueLost(f"{handle} was lost with its node; it is made again: ask for it once more") from error
            raise RunnerError(f"cannot bring {handle} from Ray: {type(error).__name__}: {error}") from error
        return [block[slot] for slot in slots]

    # -- the serve thread --------------------------------------------------------------------------

    def _turn(self, actions: list[tuple[Any, ...]], going: bool) -> None:
        self._see()
        for action in actions:
            self._act(*action)
        if not going:
            self._act("stop")
        if time.monotonic() >= self._look_at and not self._dead:
            self._look_at = time.monotonic() + TICK
            self._serving.attempt("look", self._news.look)
        self._see()
        if going and not self._dead:
            self._serving.attempt("assign", self._in_flight.assign)
        if self._pool.ready or self._news.failure is not None or not going:
            self._up.set()
        if self._dead or (self._in_flight.ending and not self._in_flight.jobs):
            self._serving.idle.set()
        events, self._in_flight.out = self._in_flight.out, []
        self._serving.deliver(self._sink, events)

    def _act(self, kind: str, *args: Any) -> None:
        if not self._dead:
            self._serving.act(kind, *args)

    def _see(self) -> None:
        """Find out whether the engine is lost."""
        if self._dead:
            return
        why = self._link.lost or (str(self._news.failure) if self._news.failure is not None else "")
        if why:
            self._dead = True
            self._in_flight.give_up()
            if not self._closed:
                self._in_flight.out.append(EngineLost(why))
