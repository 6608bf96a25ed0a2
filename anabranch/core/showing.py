"""What objects show as the last line of a notebook's cell. This is the one door from them to the room that draws.

    Future, FutureList, State, Task, Flow, runners, clusters --Shown--> DRAWING (display/cards.py), loaded when asked
"""

from __future__ import annotations

import importlib
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabranch.core.asking import passes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.core.task_graphs import TaskNode

DRAWING = "anabranch.display.cards:html"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a runner, a cluster or a flow run tells of itself, without asking anybody.

    Attributes:
        kind: its class, or "flow run".
        name: its own name, if it has one.
        status: one word or two: "not started", "running", "closed", the name of a state.
        rows: (label, value, unit); units are "" (a count or a text), "B" and "s". Empty values are left out.
        dashboard: the address of its engine's page, as the engine has it; "" where there is none.
        graph: the tasks of a flow run.
    """

    kind: str
    name: str = ""
    status: str = ""
    rows: tuple[tuple[str, str | float | None, str], ...] = ()
    dashboard: str = ""
    graph: tuple[TaskNode, ...] = ()


class Shown:
    """An object that notebooks show as HTML; it fetches no value and asks no server for it."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        return drawn(self)


def drawn(what: object) -> str | None:
    """Return the HTML of an object; None where it cannot be shown, and a cell shows its text then."""
    module, _, name = DRAWING.partition(":")
    try:
        found: str | None = getattr(importlib.import_module(module), name)(what)
    except BaseException as error:
        if passes(error) or not isinstance(error, Exception):
            raise
        logging.getLogger("anabranch").debug("%s cannot be shown", type(what).__name__, exc_info=True)
        return None
    return found


def resource_rows(offers: Mapping[str, float], of: str = "", slots: int = 0) -> tuple[tuple[str, float, str], ...]:
    """Return the rows of what a runner offers.

    Args:
        offers: amounts by name; memory in bytes. What is infinite is not told.
        of: what has so much: "a worker".
        slots: that were told; as many cpus are not told again.
    """
    where = f" of {of}" if of else ""
    return tuple(
        (f"{name}{where}", amount, "B" if name == "memory" else "")
        for name, amount in offers.items()
        if 0 < amount < math.inf and (name, amount) != ("cpus", slots)
    )


def runner_facts(kind: str, slots: int, offers: Mapping[str, float], *, begun: object, closed: bool) -> Facts:
    """Return the facts of a runner on this machine; `begun`: something that it has once it was started."""
    rows = (("slots", slots, ""), *resource_rows(offers, slots=slots))
    return Facts(kind, "", life(started=begun is not None, closed=closed), rows)


def life(*, started: bool, closed: bool, lost: str = "") -> str:
    """Return the status of a runner or a cluster."""
    if lost:
        return f"lost: {lost}"
    return "closed" if closed else "running" if started else "not started"
