"""A preload of the scheduler in its pod: the doors of an elastic cluster, for programs and for its holder.

    programs: their demand -----DEMAND_DOOR--> .------.                       holder, each second
    scale, status, stop --------STATUS_DOOR--> | Door | <--HOLDER_DOOR-- what there is, why there is no more
                                               '------' ---------------> demands, wishes, workers
                                                        <--RETIRE_DOOR-- which workers are to go

The scheduler has no rights at the Kubernetes API, so what is wished lies here until the holder comes for it.
"""

from __future__ import annotations

import time
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from anabranch.core.clusters import DEMAND_DOOR, DEMAND_HOLDS, STATUS_DOOR

HOLDER_DOOR = "anabranch_holder"  # an operation of the scheduler: the holder's word, and what it is to know
RETIRE_DOOR = "anabranch_retire"  # another one: workers that are to go
HOLDER_HOLDS = 30.0  # seconds; a holder that has said nothing for so long is gone
GONE, MOVING, MOVED, STAYS = "gone", "moving", "moved", "stays"  # what became of a worker's values


def dask_setup(scheduler: Any) -> None:
    """Open the doors; Dask calls this when the scheduler starts."""
    Door(scheduler)


class Door(SchedulerPlugin):
    """See the module's head."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._demands: dict[str, tuple[float, list[float]]] = {}  # by program
        self._bounds: list[int] = []  # wished, and not yet fetched
        self._stop = False
        self._status: dict[str, Any] = {}
        self._heard = 0.0  # when the holder last came
        self._told: dict[str, float] = {}  # when a worker was told to go
        self._left: set[str] = set()  # workers of pods that are being deleted
        scheduler.add_plugin(self, name="anabranch-door")
        doors = {
            DEMAND_DOOR: self.on_demand, STATUS_DOOR: self.on_ask, HOLDER_DOOR: self.on_holder,
            RETIRE_DOOR: self.on_retire,
        }  # fmt: skip
        scheduler.handlers.update(doors)

    async def on_demand(self, who: str = "", slots: float = 0.0, seconds: float = 0.0, unseen: float = 0.0) -> str:
        """Take a program's demand; returns why no worker is to be expected, or ""."""
        self._demands[who] = (time.monotonic(), [slots, seconds, unseen])
        return str(self._status.get("trouble", ""))

    async def on_ask(self, say: str = "", minimum: int = 0, maximum: int = 0) -> dict[str, Any]:
        """Take a wish; returns what the holder has last said of the cluster, with the workers that are there."""
        if say not in ("scale", "status", "stop"):
            return {"error": f"a cluster of another version: it does not know {say!r}"}
        if time.monotonic() - self._heard > HOLDER_HOLDS:
            return {
                "error": "the program that holds this cluster is gone: it takes work with the workers that it has, and "
                "ends by itself when it has been idle"
            }
        if say == "scale":
            self._bounds = [minimum, maximum]
            self._status = {**self._status, "minimum": minimum, "maximum": maximum, "trouble": ""}
        self._stop = self._stop or say == "stop"
        return {**self._status, "workers": len(self._scheduler.workers)}

    async def on_holder(self, status: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the holder's word; returns demands, wishes and workers."""
        now = self._heard = time.monotonic()
        self._scheduler.idle_since = None  # the operator ends a cluster that has been idle: not while it is held
        self._status = {**(status or {})}
        self._demands = {who: one for who, one in self._demands.items() if now - one[0] < DEMAND_HOLDS}
        bounds, self._bounds = self._bounds, []
        workers = {str(one.name): bool(one.processing) for one in self._scheduler.workers.values()}
        self._told = {name: at for name, at in self._told.items() if name in workers}
        demands = [demand for _, demand in self._demands.values()]
        closing = [str(one.name) for one in self._scheduler.workers.values() if _closing(one)]
        return {"demands": demands, "bounds": bounds, "stop": self._stop, "workers": workers, "closing": closing}

    async def on_retire(
        self, names: list[str] | None = None, leave: bool = False, stay: bool = False
    ) -> dict[str, list[Any]]:
        """Keep new work from workers and bring their values to others.

        Args:
            leave: their pods are being deleted: what waits on them goes to others, and is nobody's fault.
            stay: take it back: they get work again.

        Returns:
            By name what came of it, whether the worker still runs an item, and whether it has any to run.
        """
        scheduler = self._scheduler
        there = {str(one.name): one for one in scheduler.workers.values() if str(one.name) in (names or ())}
        addresses = [one.address for one in there.values()]
        if leave:
            self._left.update(names or ())
            for address in addresses:
                await scheduler.remove_worker(address, stimulus_id="anabranch-left", expected=True, close=True)
            return {}
        if stay:
            for name, worker in there.items():
                self._reopen(name, worker)
            return {}
        closing = {name for name, worker in there.items() if _closing(worker)}
        # Values that no other worker has room for stay, and their worker with them.
        done = await scheduler.retire_workers(workers=addresses, close_workers=False, remove=False) if addresses else {}
        found: dict[str, list[Any]] = {name: [GONE, False, False] for name in names or ()}
        for name, worker in there.items():
            if worker.address in scheduler.workers:
                moved = worker.address in done
                told = self._told.setdefault(name, time.time()) if moved else time.time()
                if not moved and name in closing:
                    self._reopen(name, worker)  # Dask gives it back the status that it had: it would get no work
                runs = bool(worker.executing) or worker.last_seen <= told
                what = STAYS if not moved else MOVED if self._is_safe(worker) else MOVING
                found[name] = [what, runs, bool(worker.processing)]
        return found

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Give nothing to a worker that left and comes back: its container began anew before its pod was deleted."""
        found = scheduler.workers.get(worker)
        if found is not None and str(found.name) in self._left:
            scheduler.handle_worker_status_change("closing_gracefully", found, "anabranch-left")

    def _is_safe(self, worker: Any) -> bool:
        """Return whether workers that stay have all values of one that goes.

        Dask counts any second copy: of two workers that go at once, each would leave its values with the other.
        """
        return all(value.who_has and value.who_has & self._scheduler.running for value in worker.has_what)

    def _reopen(self, name: str, worker: Any) -> None:
        self._told.pop(name, None)
        if _closing(worker):
            word = {"op": "worker-status-change", "status": "running", "stimulus_id": "anabranch-stays"}
            self._scheduler.stream_comms[worker.address].send(word)


def _closing(worker: Any) -> bool:
    """Return whether a worker has been told to go, and so gets no work."""
    return bool(worker.status.name == "closing_gracefully")
