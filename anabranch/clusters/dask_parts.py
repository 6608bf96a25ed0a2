"""Dask's parts of a cluster in an allocation: the scheduler beside the driver, the workers of one set."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import dask
import distributed

from anabranch.clusters.draining import drain, remove
from anabranch.clusters.local import CONFIG, LOOK_SECONDS, STOPPED_LOOKS, end_stopped
from anabranch.clusters.shares import one_each, workers_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from anabranch.clusters.hub import Line
    from anabranch.clusters.rendezvous import Rendezvous
    from anabranch.clusters.shares import Set

CHUNKS_KEPT = 1024  # of which is known how long they took
RELEASES = "client-releases-keys"  # Dask's word for it
JOIN_SECONDS = 60  # a worker that does not reach its scheduler for so long ends
CLOSE_SECONDS = 5.0
QUIET = logging.CRITICAL + 1  # the runner tells what matters; at the end each worker would tell that it is alone
SETTINGS: dict[str, Any] = {
    **CONFIG,
    "distributed.comm.socket-backlog": 4096,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.scheduler.http.routes": [],  # a program that merely connects is told nothing
    "distributed.worker.http.routes": [],
}
PRELOAD = "anabranch.clusters.dask_worker_start"


def security_of(found: Rendezvous) -> Any:
    """Return a `distributed.Security` in which all parts have the one certificate."""
    roles = ("scheduler", "worker", "client")
    certificates = {f"tls_{role}_{part}": getattr(found, name) for role in roles for part, name in _PARTS}
    return distributed.Security(require_encryption=True, tls_ca_file=found.certificate, **certificates)  # type: ignore[no-untyped-call]


_PARTS = (("cert", "certificate"), ("key", "key"))


class Chunks(distributed.SchedulerPlugin):
    """How long chunks took, and on which workers any ended."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.took: deque[float] = deque(maxlen=CHUNKS_KEPT)
        self.workers: set[str] = set()  # by name
        self._sent: dict[Any, str] = {}  # the worker of each key that is there to be computed

    def transition(self, key: Any, start: str, finish: str, *args: Any, stimulus_id: str = "", **more: Any) -> None:
        """Dask calls this for each change of a key."""
        if finish == "processing":
            there = self._scheduler.tasks[key].processing_on
            self._sent.update({key: there.name} if there is not None else {})
        if start != "processing":
            return
        sent = self._sent.pop(key, "")
        if finish in ("memory", "erred"):
            took = (one for one in more.get("startstops") or () if one["action"] == "compute")
            self.took += [one["stop"] - one["start"] for one in took]
            worker = self._scheduler.workers.get(more.get("worker"))
            name = worker.name if worker is not None else ""
        else:  # the driver may hear from the chunk that it has ended, and release the key, before Dask hears of it
            name = sent if stimulus_id.startswith(RELEASES) else ""
        if name:
            self.workers.add(name)


class DaskHead:
    """The scheduler.

    Args:
        host: the address that it listens on.
        watched: whether it is noted how long chunks take.
    """

    def __init__(self, host: str, found: Rendezvous, *, watched: bool = False) -> None:
        logging.getLogger("distributed").setLevel(QUIET)
        self._host = host
        self._security = security_of(found)
        self._config = dask.config.set(SETTINGS)
        self._scheduler: Any = None
        self._watched = watched
        self._chunks: Any = None

    async def start(self, by: str) -> None:
        """Start it; `by` is the address by which the first set came."""
        self._scheduler = await distributed.Scheduler(
            host=f"tls://{self._host}", port=0, security=self._security, dashboard=False,
            dashboard_address="127.0.0.1:0",
        )  # fmt: skip
        if self._watched:
            self._chunks = Chunks(self._scheduler)
            self._scheduler.add_plugin(self._chunks)

    def address(self, by: str) -> str:
        """Return where a machine finds it that reaches this one by `by`."""
        port = self._scheduler.address.rpartition(":")[2]
        return f"tls://{by}:{port}"

    @property
    def lost(self) -> str:
        return ""

    # -- sets that leave ---------------------------------------------------------------------------

    def longest(self, names: Collection[str]) -> dict[str, float]:
        """As of `guests.Engine`."""
        return longest_of(names, self._chunks.took, self._scheduler.workers.values())

    def worked(self, name: str) -> bool:
        """As of `guests.Engine`."""
        return any(_set_of(worker) == name for worker in self._chunks.workers)

    async def let_go(self, name: str, seconds: float) -> None:
        """As of `guests.Engine`; what runs longer than that begins again elsewhere."""
        workers = self._workers(name)
        with contextlib.suppress(TimeoutError):
            await drain(self._scheduler, workers, seconds, must=True)
        await remove(self._scheduler, workers, "anabranch-left")

    def _workers(self, name: str) -> list[Any]:
        return [worker for worker in self._scheduler.workers.values() if _set_of(worker.name) == name]

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._scheduler.close(), CLOSE_SECONDS)


def longest_of(names: Collection[str], took: Iterable[float], workers: Iterable[Any]) -> dict[str, float]:
    """Return for each of some sets how long the longest chunk took, or runs already on it, by one pass over workers.

    Args:
        took: seconds, of chunks that have ended.
        workers: of Dask's scheduler.
    """
    found = dict.fromkeys(names, max(took, default=0.0))
    for worker in workers:
        if worker.executing and (name := _set_of(worker.name)) in found:
            found[name] = max(found[name], *worker.executing.values())
    return found


def _set_of(worker: object) -> str:
    """Return the name of the set that a worker of this name is in."""
    return str(worker).rpartition("-")[0]


async def work(place: Set, line: Line, found: Rendezvous, folder: str) -> str:
    """Start a worker a processor, and wait until all of them have gone; returns why, "" for a usual end."""
    address, ours = line.go, line.ours
    logging.getLogger("distributed").setLevel(QUIET)
    workers, memory = workers_in(place.memory, place.cpus, beside_driver=place.beside_driver)
    with dask.config.set(SETTINGS):
        nannies = [
            distributed.Nanny(
                address, nthreads=1, name=f"{place.name}-{n}", host=f"tls://{ours}", security=security_of(found),
                memory_limit=memory or None, local_directory=folder, death_timeout=JOIN_SECONDS, preload=[PRELOAD],
                dashboard=False, dashboard_address="127.0.0.1:0", silence_logs=QUIET,
                resources={"cpus": 1, **({"gpus": 1} if device else {})},
                env={} if device is None else {"CUDA_VISIBLE_DEVICES": device, "ROCR_VISIBLE_DEVICES": device},
            )
            for n, device in enumerate(one_each(place.devices, workers))
        ]  # fmt: skip
        watch = asyncio.create_task(_end_stopped(nannies))
        try:
            begun = await asyncio.gather(*nannies, return_exceptions=True)
            failed = [one for one in begun if isinstance(one, BaseException)]
            if len(failed) == len(nannies):
                return f"no worker started: {failed[0].__cause__ or failed[0]}"
            line.up()
            await asyncio.gather(*(nanny.finished() for nanny in nannies))  # type: ignore[no-untyped-call]
            return ""
        finally:
            watch.cancel()
            closing = (nanny.close(timeout=CLOSE_SECONDS) for nanny in nannies)
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 2 * CLOSE_SECONDS)


async def _end_stopped(nannies: list[Any]) -> None:
    seen: dict[int, int] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        seen = end_stopped([nanny.pid for nanny in nannies], seen, STOPPED_LOOKS)
