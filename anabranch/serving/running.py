"""An agent at work in this program until a signal ends it, and the steps of the service where no server takes them."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

from anabranch import serving
from anabranch.services.loop import Services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.agents.loop import AgentLoop
    from anabranch.core.service import Service
    from anabranch.settings import Settings


def run(agent: AgentLoop, service: Service, settings: Settings, *, grace: float | None = None) -> int:
    """Be an agent until SIGINT or SIGTERM; returns the signal, 0 where it has ended by itself.

    Args:
        grace: seconds that its jobs get to end after the first signal; after a second one it does not wait for them.
            With None they go on without it.

    Raises:
        ServiceError: the service refuses this agent.
    """
    with steps(service, settings), _signals(agent, grace) as got:
        agent.run()
    return got[0] if got else 0


@contextlib.contextmanager
def steps(service: Service, settings: Settings) -> Iterator[None]:
    """Take the steps of the service during a block, unless a server takes them."""
    if serving.over_http(settings):
        yield
        return
    taken = Services(service)
    taken.start()
    try:
        yield
    finally:
        taken.stop()


@contextlib.contextmanager
def _signals(agent: AgentLoop, grace: float | None) -> Iterator[list[int]]:
    """Let signals stop an agent during a block, within a main thread; yields a list of those that came."""
    got: list[int] = []

    def handle(number: int, _: Any) -> None:
        got.append(number)
        agent.stop(grace if len(got) == 1 else None)

    if threading.current_thread() is not threading.main_thread():
        yield got
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
