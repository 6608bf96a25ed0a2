"""Steps: a policy yields one wherever something may suspend, and a driver carries it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import TaskTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Call:
    """Call a function, sync or async; the answer is its value, or its exception is raised into the policy.

    Attributes:
        timeout: seconds; past them PastTime is raised into the policy.
        blocking: a sync function that waits: an event loop runs it on a thread.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    blocking: bool = False


@dataclass(slots=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


@dataclass(slots=True)
class Give:
    """Give an item to the caller of the policy's function; the answer is the object that the caller sends or throws."""

    item: Any


class PastTime(TaskTimeoutError):
    """Raised into a policy in answer to a `Call` that took too long.

    The function's own exception may be a TaskTimeoutError as well: of a task that it has called, or of its own making.
    """


class Left(BaseException):
    """Raised into a policy in answer to `Give`: the caller takes no more items."""


Step = Call | Sleep | Give
