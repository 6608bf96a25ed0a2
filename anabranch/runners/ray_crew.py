"""The actors of a `RayRunner`: how they are started, spoken to, heard and ended.

One place a slot, and one more (which takes no processor of Ray's) for each place whose task waits
for others. Ray's callbacks come on threads of its own; they only put what they bring.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from anabranch.runners import ray_worker as worker_half

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Handle
    from anabranch.runners.ray_jobs import Sent

LINGER_SECONDS = 20.0  # a place too many stays for so long, for the next task that waits: one takes seconds to start
EARLY_DEATHS = 5  # places that may die before they are ready, one after another


class Place:
    """One actor, as the driver sees it."""

    def __init__(self, name: str, actor: Any, extra: bool) -> None:
        self.name = name
        self.actor = actor
        self.extra = extra
        self.run = actor.run
        self._tell = actor.tell.options(concurrency_group="control")
        self._listen = actor.listen.options(concurrency_group="listen")
        self.jobs: dict[int, Sent] = {}  # in the order they were sent: the first one runs
        self.sent: set[int] = set()  # shared values it has
        self.held: set[Handle] = set()  # blocks that end with it
        self.calls = 0  # of `run`
        self.ready = False
        self.waiting = False
        self.idle_since = time.monotonic()

    def tell(self, *messages: tuple[Any, ...]) -> Any:
        return self._tell.remote(messages)

    def listen(self, put: Callable[[tuple[Any, ...]], None]) -> None:
        """Wait for news, which come as ("heard", place, future)."""
        _then(self._listen.remote(), lambda future: put(("heard", self, future)))

    def greet(self, put: Callable[[tuple[Any, ...]], None]) -> None:
        """Wait for it to be up, which comes as ("joined", place, future)."""
        hello = self.actor.hello.options(concurrency_group="control").remote()
        _then(hello, lambda future: put(("joined", self, future)))

    def told(self, call: Callable[[], None]) -> None:
        """Call once what was told before has arrived, or never will."""
        _then(self.tell(), lambda _: call())


class Crew:
    """The places of one runner; not locked: for its serve thread."""

    def __init__(self, ray: Any, size: int, entry: str, put: Callable[[tuple[Any, ...]], None]) -> None:
        self.size = size
        self.places: list[Place] = []
        self._ray = ray
        self._entry = entry
        self._put = put
        self._serial = 0
        self._early = 0
        self._not_before = 0.0
        # Neither started nor called again by Ray: what is lost is sent again by those who count attempts.
        self._actor = ray.remote(
            concurrency_groups=worker_half.GROUPS, max_restarts=0, max_task_retries=0, enable_task_events=False
        )(worker_half.RayWorker)

    @property
    def ready(self) -> int:
        """How many chunks can run at once."""
        return sum(place.ready and not place.extra for place in self.places)

    def staff(self) -> None:
        """Bring the crew to its size: one place more for each that waits, none more than that for long."""
        now = time.monotonic()
        waiting = sum(place.waiting for place in self.places)
        missing = self.size + waiting - len(self.places)
        if missing > 0 and now >= self._not_before:
            for _ in range(missing):
                self._spawn(extra=sum(not place.extra for place in self.places) >= self.size)
        for place in [p for p in self.places if p.extra] if missing < 0 else ():
            if missing < 0 and not (place.jobs or place.held) and now - place.idle_since > LINGER_SECONDS:
                self.end(place)
                missing += 1

    def _spawn(self, *, extra: bool) -> None:
        self._serial += 1
        name = f"ray-{self._serial}"
        actor = self._actor.options(num_cpus=0 if extra else 1).remote(name, self._entry)
        place = Place(name, actor, extra)
        self.places.append(place)
        place.greet(self._put)

    def died(self, place: Place) -> bool:
        """Take it out; False: places die before they are ready, again and again."""
        self.end(place)
        self._early = 0 if place.ready else self._early + 1
        if self._early:
            self._not_before = time.monotonic() + 0.05 * 2**self._early
        return self._early < EARLY_DEATHS

    def end(self, place: Place) -> None:
        if place in self.places:
            self.places.remove(place)
        with contextlib.suppress(Exception):  # it has gone
            if self._ray.is_initialized():  # Ray would start anew
                self._ray.kill(place.actor, no_restart=True)

    def end_all(self) -> None:
        for place in list(self.places):
            self.end(place)


def _then(ref: Any, call: Callable[[Any], None]) -> None:
    ref.future().add_done_callback(call)
