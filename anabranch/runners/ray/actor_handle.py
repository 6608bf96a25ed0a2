"""One actor of a `RayRunner`, as the driver sees it: how it is called, and how its news come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.runners.placing.jobs import Kind
    from anabranch.runners.ray.jobs import RayJob


class ActorHandle:
    """One actor.

    Ray's callbacks come on threads of its own; they only put what they bring.
    """

    retiring = False  # of `placing.policy.Worker`: an actor that is not needed is ended when it is idle

    def __init__(self, name: str, actor: Any, kind: Kind, extra: bool) -> None:
        self.name = name
        self.actor = actor
        self.kind = kind
        self.extra = extra
        self.run = actor.run
        self._tell = actor.tell.options(concurrency_group="control")
        self._listen = actor.listen.options(concurrency_group="listen", num_returns=2)
        self.jobs: dict[int, RayJob[ActorHandle]] = {}  # in the order they were sent: the first one runs
        self.sent: set[int] = set()  # shared values it has
        self.arrived: list[Any] = []  # references of blocks whose report is still to come
        self.node = ""  # where it is; before it is up, where it is to be
        self.page = ""  # the file in which it notes what it runs
        self.calls = 0  # of `run`
        self.heard = 0  # batches of news
        self.refusals = 0  # of Ray's to store the last ones
        self.end = "worker-lost", ""  # reason and words
        self.died_at = 0.0
        self.ready = False
        self.waiting = False
        self.idle_since = time.monotonic()

    def tell(self, *messages: tuple[Any, ...]) -> Any:
        return self._tell.remote(messages)

    def listen(self, put: Callable[[tuple[Any, ...]], None], refused: str | None = None) -> None:
        """Wait for news, which come as ("heard", worker, future, reference of a block)."""
        news, block = self._listen.remote(self.heard, refused)
        when_done(news, lambda future: put(("heard", self, future, block)))

    def greet(self, put: Callable[[tuple[Any, ...]], None]) -> None:
        """Wait for it to be up, which comes as ("joined", worker, future)."""
        hello = self.actor.hello.options(concurrency_group="control").remote()
        when_done(hello, lambda future: put(("joined", self, future)))

    def told(self, call: Callable[[], None]) -> None:
        """Call once what was told before has arrived, or never will."""
        when_done(self.tell(), lambda _: call())


def when_done(ref: Any, call: Callable[[Any], None]) -> None:
    """Call it with the future of a reference, on a thread of Ray's."""
    ref.future().add_done_callback(call)
