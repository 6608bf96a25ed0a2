"""The slots of this program's own order, lent while its flow waits for a run that it has ordered.

    drive(service, order) --> waits: the first one that waits --> lent      (its pool, queue, deployment, agent)
                                     the last one that goes on --> its own  (over the limit, if need be)

A thread tells the service, so that nobody waits for the telling; it tells again until it is heard. A program that
drives no order lends nothing.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anabranch.core import forks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.orders import Order
    from anabranch.core.service import Service

AGAIN = 1.0  # seconds after which what was not heard is told again


class Lending:
    """Lends the slots of one begun order.

    Args:
        again: seconds after which what was not heard is told again.
    """

    def __init__(self, service: Service, run: str, token: int, again: float = AGAIN) -> None:
        self._service = service
        self._run = run
        self._token = token
        self._again = again
        self._changed = threading.Condition()
        self._waiting = 0  # threads and coroutines of the flow
        self._told: bool | None = False  # None: the last word may be heard or not
        self._thread: threading.Thread | None = None

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Lend the slots during the block, in which the flow waits."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._changed:
            self._waiting += more
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._tell, name="anabranch-lending", daemon=True)
                self._thread.start()

    def _tell(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: (self._waiting > 0) is not self._told)
                wanted = self._waiting > 0
            try:
                self._service.claims.lend(self._run, self._token, wanted)
            except Exception:  # any exception: a thread that ended would leave the slots lent
                self._told = None  # it may be heard though its answer was lost
                with self._changed:
                    self._changed.wait(self._again)
            else:
                self._told = wanted


_own: Lending | None = None


def drive(service: Service, order: Order) -> None:
    """Lend the slots of this order from now on: this program has begun it."""
    global _own
    _own = Lending(service, order.run, order.token)


@contextmanager
def waits() -> Iterator[None]:
    """Lend the slots of this program's order during the block; nothing where it drives none."""
    if _own is None:
        yield
        return
    with _own.waits():
        yield


def _begin_anew() -> None:
    """Lend nothing in a forked copy: the order is the other process's."""
    global _own
    _own = None


forks.in_copies(_begin_anew)
