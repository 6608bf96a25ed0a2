"""A task's requests to its driver, and the answers, both pickled: what user code they hold is never run under a lock.

    worker: ask(send) --number, payload--> driver: opened, WorkerRequest(reply=answering(say))
            reply(number, good, data) <--number, good, data-- say
"""

from __future__ import annotations

import itertools
import pickle
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from anabranch.core.culprits import unpicklable
from anabranch.core.errors import RunnerError
from anabranch.runners.transport.value_files import by_value, refused

if TYPE_CHECKING:
    from collections.abc import Callable


class Requests:
    """The requests of a worker that wait for their answers; for any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, SimpleQueue[tuple[bool, bytes]]] = {}

    def ask(
        self,
        send: Callable[[int], None],
        patience: float | None = None,
        leave: Callable[[], None] | None = None,
    ) -> Any:
        """Send a request under a number of its own, and wait for the answer.

        Args:
            patience: seconds after which `leave` is called, once; the wait goes on.

        Raises:
            what the driver raised.
        """
        number = next(self._numbers)
        answer: SimpleQueue[tuple[bool, bytes]] = SimpleQueue()
        self._waiting[number] = answer
        send(number)
        try:
            good, data = answer.get(timeout=patience)
        except Empty:
            if leave is not None:
                leave()
            good, data = answer.get()
        found = pickle.loads(data)
        if good:
            return found
        raise found if isinstance(found, BaseException) else RunnerError(str(found))

    def reply(self, number: int, good: bool, data: bytes) -> None:
        """The driver has answered; an answer that nobody waits for is dropped."""
        answer = self._waiting.pop(number, None)
        if answer is not None:
            answer.put((good, data))


def encoded(kind: str, payload: Any) -> bytes:
    """A request's payload; raises SerializationError with the path to the culprit."""
    try:
        return by_value(payload)
    except Exception as error:
        raise unpicklable(payload, error, refused, kind) from error


def answering(say: Callable[[bool, bytes], None]) -> Callable[[bool, Any], None]:
    """The `reply` of a `WorkerRequest`: says the answer, or that it cannot be pickled."""

    def reply(good: bool, payload: Any) -> None:
        try:
            answer = by_value(payload)
        except Exception as error:
            good, answer = False, by_value(unpicklable(payload, error, refused, "answer"))
        say(good, answer)

    return reply


def opened(kind: str, data: bytes, reply: Callable[[bool, Any], None]) -> tuple[Any] | None:
    """A request's payload, in the driver; None where it does not unpickle, which the task has been told."""
    try:
        return (pickle.loads(data),)
    except Exception as error:  # whatever the payload's own code raises
        reply(False, RunnerError(f"the request {kind!r} does not unpickle in the driver: {error!r}"))
        return None
