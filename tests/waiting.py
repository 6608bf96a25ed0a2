"""How tests wait for what no event tells of."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
WAIT = 60.0  # seconds: as long as a busy machine may take
PAUSE = 0.02  # seconds between two looks


def until(
    condition: Callable[[], T], told: str | Callable[[], object] = "", *, seconds: float = WAIT, pause: float = PAUSE
) -> T:
    """Wait until a condition holds, and return what it said; the test fails if it does not in time.

    Args:
        told: what is waited for; or a function whose answer the message shows beside the condition's source.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() >= end:
            what = told if isinstance(told, str) and told else _source(condition)
            shown = f"; there is {_readable(told())}" if callable(told) else ""
            raise AssertionError(f"waited {seconds:g} s in vain for: {what}{shown}")
        time.sleep(pause)
    return found


def _readable(there: object) -> str:
    """The lines of a log stay lines."""
    return there if isinstance(there, str) and "\n" in there else repr(there)


def _source(condition: Callable[[], object]) -> str:
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
