"""How an awkward object is made and known again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Keeper:
    """How an awkward object is made and known again.

    Attributes:
        make: makes a new one.
        tell: what is seen of one, as text; it must not ask what the object refuses.
        travels: whether a copy can be made in another process.
        answers: whether asking it for its text comes to an end; Python itself never gets past such an object in an
            exception's message, so there it is carried by one that has words of its own.
    """

    make: Callable[[], Any]
    tell: Callable[[Any], str]
    travels: bool = True
    answers: bool = True


def kind(one: Any) -> str:
    return type(one).__name__


def text(one: Any) -> str:
    return f"{type(one).__name__} {one!r}"
