"""Steps: what a policy yields wherever something may suspend. Drivers carry them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Call:
    """Call a function, sync or async; answered with its value, or its exception is raised into the policy.

    Attributes:
        timeout: seconds; past them TaskTimeoutError is raised into the policy.
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
    """Hand an item to whoever called the policy's function; answered with what they send, or throw, back."""

    item: Any


class Left(BaseException):
    """Raised into a policy in answer to `Give`: whoever took its items wants no more of them."""


Step = Call | Sleep | Give
