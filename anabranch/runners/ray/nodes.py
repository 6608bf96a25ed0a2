"""The nodes of a Ray cluster, and what an actor has to reserve on one of them: our words and Ray's.

ours, of one item            Ray's, of an actor
gpus=1  resources={"GPU":1}  num_gpus=1
memory="2 GB"                memory=2e9
resources={"licence": 1}     resources={"licence": 1}
cpus=2                       nothing: the pool has a place a processor, and chunks on it are counted
"""

from __future__ import annotations

import math
import os
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from anabranch.runners.placing.jobs import Kind

RAYS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"  # with a head that is silent: 60 seconds, unless it is set

_RAYS = {"cpus": "CPU", "gpus": "GPU"}
_OURS = {"CPU": "cpus", "GPU": "gpus"}


def kind_of(needs: Mapping[str, float]) -> Kind:
    """What an actor for such items reserves; GPUs above one only as a whole, as Ray wants it."""
    found: dict[str, float] = {}
    for name, amount in needs.items():
        name = _RAYS.get(name, name)
        if amount and name != "CPU":
            found[name] = float(math.ceil(amount)) if name == "GPU" and amount > 1 else amount
    return tuple(sorted(found.items()))


def options_of(kind: Kind) -> dict[str, Any]:
    """Options of an actor of this kind."""
    own = {"GPU": "num_gpus", "memory": "memory"}
    options: dict[str, Any] = {own[name]: amount for name, amount in kind if name in own}
    return {**options, "resources": {name: amount for name, amount in kind if name not in own}}


def patience() -> float:
    """Seconds for which the head may be silent: it may be starting anew; past its own time Ray ends this process."""
    try:
        rays = float(os.environ.get(RAYS_PATIENCE, ""))
    except ValueError:
        rays = 60.0
    return 0.75 * rays


class Nodes:
    """What is known of the cluster since the head last answered; not locked: for the serve thread.

    A thread asks, because a call to a head that is gone does not come back.

    Args:
        put: takes the answer, as ("nodes", list), and None when asking went wrong.
    """

    def __init__(self, ray: Any, put: Callable[[tuple[Any, ...]], None]) -> None:
        self._ray = ray
        self._alive: dict[str, dict[str, float]] = {}
        self.here: str = ray.get_runtime_context().get_node_id()
        self.silent = 0  # questions, one after another, that brought nothing
        self.heard = 0.0  # when it last answered
        self._asking = False
        self._questions: SimpleQueue[bool] = SimpleQueue()
        self.take(ray.nodes())
        self._thread = threading.Thread(target=self._ask, args=(put,), name="anabranch-ray-nodes", daemon=True)

    def ask(self) -> None:
        """Ask the head once more, if it has answered."""
        if not self._thread.ident:
            self._thread.start()
        self.silent += 1
        if not self._asking:
            self._asking = True
            self._questions.put(True)

    def take(self, found: list[dict[str, Any]] | None) -> set[str]:
        """What the head says; the nodes that are gone since it said so last."""
        self._asking = False
        if found is None:
            return set()
        self.silent = 0
        self.heard = time.monotonic()
        before = set(self._alive)
        self._alive = {node["NodeID"]: node["Resources"] for node in found if node["Alive"]}
        return before.difference(self._alive)

    def close(self) -> None:
        """Ask no more, and wait for a question under way, unless nobody is there to answer."""
        self._questions.put(False)
        if self._thread.ident:
            self._thread.join(0.0 if self.silent > 1 else 5.0)

    def _ask(self, put: Callable[[tuple[Any, ...]], None]) -> None:
        while self._questions.get():
            try:
                found = self._ray.nodes() if self._ray.is_initialized() else None
            except Exception:  # told by the silence that follows
                found = None
            put(("nodes", found))

    def __contains__(self, node: str) -> bool:
        return node in self._alive

    @property
    def cpus(self) -> int:
        """Processors of the whole cluster."""
        return int(sum(node.get("CPU", 0.0) for node in self._alive.values()))

    def roomiest(self, taken: Mapping[str, int]) -> str:
        """The node with most processors beyond those `taken`, this one first among equals; "" when none has any."""
        room = {node: has.get("CPU", 0.0) - taken.get(node, 0) for node, has in self._alive.items()}
        found = max(room, key=lambda node: (room[node], node == self.here), default="")
        return found if room.get(found, 0.0) >= 1 else ""

    def offers(self) -> dict[str, float]:
        """The most of each resource that one node has, in our words and in Ray's."""
        most: dict[str, float] = {}
        for node in self._alive.values():
            for name, amount in node.items():
                if not name.startswith("node:") and name != "object_store_memory":
                    most[name] = max(most.get(name, 0.0), float(amount))
        return {**most, **{ours: most.get(rays, 0.0) for rays, ours in _OURS.items()}}

    def room(self, kind: Kind) -> int:
        """How many actors of this kind the cluster has room for, were it empty."""
        return sum(_times(node, kind) for node in self._alive.values())


def _times(node: Mapping[str, float], kind: Iterable[tuple[str, float]]) -> int:
    return min((int(node.get(name, 0.0) / amount + 1e-9) for name, amount in kind), default=0)
