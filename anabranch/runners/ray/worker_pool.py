"""The actors of a `RayRunner`: how many there are of which kind, how they are started, spoken to, heard and ended.

    the pool      one actor a processor of Ray's (or as many as were asked for); grows and shrinks with the cluster
    extras        one for each task of the pool that waits for others, and some ahead
    other kinds   reserve what Ray counts (GPUs, memory, custom resources), so that Ray finds the node; there while
                  there are chunks for them

None of them holds a processor once it is up: what a task asks Ray for would wait for ever behind workers that wait
for it. The pool starts where a processor is free, and the workers are counted here, node by node.

Ray's callbacks come on threads of its own; they only put what they bring.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from anabranch.runners.ray import worker as worker_half
from anabranch.runners.ray.actor_handle import ActorHandle, when_done
from anabranch.runners.ray.nodes import options_of
from anabranch.runners.ray.page import drop_page, take_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anabranch.runners.placing.jobs import Kind
    from anabranch.runners.placing.status_page import Running
    from anabranch.runners.ray.nodes import Nodes

LINGER_SECONDS = 20.0  # an extra too many stays for so long, for the next task that waits: one takes seconds to start
KEEP_SECONDS = 5.0  # an actor that reserves something keeps it for so long without work
AHEAD = 2  # extras started before a task waits for them, at most
EARLY_DEATHS = 5  # workers that may die before they are ready, one after another


class WorkerPool:
    """The workers of one runner; not locked: for its serve thread."""

    def __init__(
        self, ray: Any, nodes: Nodes, size: int | None, entry: str, put: Callable[[tuple[Any, ...]], None]
    ) -> None:
        self.workers: list[ActorHandle] = []
        self.nodes = nodes
        self._ray = ray
        self._size = size
        self._entry = entry
        self._put = put
        self._serial = 0
        self._early = 0
        self._not_before = 0.0
        self._wish: Any = None  # a placement group: processors that the cluster has not got
        # Ray neither restarts an actor nor repeats a call: the dispatcher sends lost items again and counts attempts.
        self._actor = ray.remote(
            concurrency_groups=worker_half.GROUPS, max_restarts=0, max_task_retries=0, enable_task_events=False
        )(worker_half.RayWorker)
        self._reader = ray.remote(num_cpus=0, max_retries=0, enable_task_events=False)(take_page)

    @property
    def size(self) -> int:
        """How many chunks are to run at once."""
        return self._size or self.nodes.cpus

    @property
    def ready(self) -> int:
        """How many chunks can run at once."""
        return sum(worker.ready and not worker.extra and not worker.kind for worker in self.workers)

    # -- how many --------------------------------------------------------------------------------

    def staff(self, demand: Mapping[Kind, int]) -> None:
        """Bring the pool to its size, and the other kinds to what is asked for."""
        now = time.monotonic()
        self._wish_for_nodes()
        self._staff_pool(now)
        for kind in {worker.kind for worker in self.workers if worker.kind}.union(demand):
            self._staff_kind(kind, demand.get(kind, 0), now)

    def _staff_pool(self, now: float) -> None:
        pool = [worker for worker in self.workers if not worker.kind]
        regular = sum(not worker.extra for worker in pool)
        waiting = sum(worker.waiting for worker in pool)
        wanted = waiting + min(waiting, AHEAD)  # extras
        spare = len(pool) - regular - wanted
        missing = max(0, min(self.size, self.nodes.cpus) - regular)
        if now >= self._not_before:
            for n in range(missing - min(spare, 0)):
                self._spawn((), extra=n >= missing)
        idle = sorted((worker for worker in pool if not (worker.extra or worker.jobs)), key=lambda worker: worker.ready)
        for worker in idle[: max(0, regular - self.size)]:
            self.end(worker)  # the cluster has shrunk
        for worker in [worker for worker in pool if worker.extra and not worker.jobs]:
            if spare > 0 and now - worker.idle_since > LINGER_SECONDS:
                self.end(worker)
                spare -= 1

    def _wish_for_nodes(self) -> None:
        """Let an autoscaler see that the pool is to have more processors than there are, as long as that is so."""
        short = (self._size or 0) > self.nodes.cpus
        if short and self._wish is None:
            self._wish = self._ray.util.placement_group([{"CPU": 1}] * self.size)
        elif not short and self._wish is not None:
            self._wish_nothing()

    def _wish_nothing(self) -> None:
        wish, self._wish = self._wish, None
        if wish is not None and self._ray.is_initialized():
            self._ray.util.remove_placement_group(wish)

    def _staff_kind(self, kind: Kind, wanted: int, now: float) -> None:
        """As many as there are chunks and room for; for those that wait, others in their place."""
        mine = [worker for worker in self.workers if worker.kind == kind]
        holders = [worker for worker in mine if not worker.extra]
        waiting = [worker for worker in mine if worker.waiting]
        if now >= self._not_before:
            for _ in range(min(wanted, self.nodes.room(kind)) - len(holders)):
                self._spawn(kind, extra=False)
            if wanted > len(waiting) == len(mine) and waiting:
                self._spawn(kind, extra=True, node=waiting[-1].node)  # what a waiting task has is lent to it
        others_wait = any(p.kind not in ((), kind) and not p.ready for p in self.workers)
        keep = 0.0 if others_wait else KEEP_SECONDS
        for worker in mine:
            if not (worker.jobs or wanted) and (now - worker.idle_since >= keep or not worker.ready):
                self.end(worker)

    def _spawn(self, kind: Kind, *, extra: bool, node: str = "") -> None:
        self._serial += 1
        name = f"ray-{self._serial}"
        options: dict[str, Any] = {"num_cpus": 0}
        if not extra and not kind:
            node = self.nodes.roomiest(self._seats())
            # No word on processors: Ray waits for a free one to start an actor, and gives it back then.
            options = {"scheduling_strategy": self._on(node, spill=True)} if node else {}
        elif node:
            options["scheduling_strategy"] = self._on(node)
        if not extra:
            options |= options_of(kind)
        worker = ActorHandle(name, self._actor.options(**options).remote(name, self._entry), kind, extra)
        worker.node = node
        self.workers.append(worker)
        worker.greet(self._put)

    def _seats(self) -> Counter[str]:
        """How many of the pool each node has, or is to get."""
        return Counter(worker.node for worker in self.workers if not (worker.kind or worker.extra))

    def _on(self, node: str, *, spill: bool = False) -> Any:
        """On that node; with `spill` on another one where its processors are taken."""
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        return affinity(node, soft=spill, _spill_on_unavailable=spill)

    # -- ends ------------------------------------------------------------------------------------

    def died(self, worker: ActorHandle) -> bool:
        """Take it out; False: workers die before they are ready, again and again."""
        self.end(worker, keep_page=True)
        self._early = 0 if worker.ready else self._early + 1
        if self._early:
            self._not_before = time.monotonic() + 0.05 * 2**self._early
        return self._early < EARLY_DEATHS

    def last_item(self, worker: ActorHandle) -> None:
        """What ran when it died, which comes as ("verdict", worker, what): at once on this node."""
        put = self._put
        if not worker.page or worker.node not in self.nodes:
            put(("verdict", worker, None))
        elif worker.node == self.nodes.here:
            put(("verdict", worker, take_page(worker.page)))
        else:
            found = self._reader.options(scheduling_strategy=self._on(worker.node)).remote(worker.page)
            when_done(found, lambda future: put(("verdict", worker, _running(future))))

    def end(self, worker: ActorHandle, *, keep_page: bool = False) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
        with contextlib.suppress(Exception):  # it has gone
            if self._ray.is_initialized():  # Ray would start anew
                self._ray.kill(worker.actor, no_restart=True)
        if worker.page and not keep_page and worker.node == self.nodes.here:
            drop_page(worker.page)

    def end_all(self) -> None:
        self._wish_nothing()
        for worker in list(self.workers):
            self.end(worker)


def _running(future: Any) -> Running | None:
    """What a reader found; None when its node went away meanwhile."""
    found: Running | None = None if future.exception() is not None else future.result()
    return found
