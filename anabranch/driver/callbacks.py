"""Callbacks of the dispatcher into user code and the rest of the program, as one object for the pump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.failures import exception_of
from anabranch.core.walk import fill
from anabranch.engine import user_callbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.events import WorkerRequest
    from anabranch.core.instructions import AskHandlers, AskRetry, KeepInput, RunHooks, Verdict
    from anabranch.core.maps import MapRun, Upstream

    Constants = tuple[Any, tuple[Upstream, ...]]  # with holes, and the runs that give their values


def _nothing(*_: object) -> None:
    """Do nothing, for a program without this part."""


def upstream_value(port: Any, up: Upstream) -> Any:
    """Return an upstream's value or exception; for a whole map, a list of them.

    Args:
        port: the scope that reads.
    """
    codes = up.map.codes
    which = range(len(codes)) if up.item is None else (up.item,)
    found = [port.value(up.map, i) if states.is_success(codes[i]) else exception_of(up.map, i) for i in which]
    return found if up.item is None else found[0]


class Callbacks:
    """Answers of user code, and messages to other parts of the program.

    `run_hooks`, `ask_handlers`, `ask_retry`, `keep_input` and `constants_of` are called on the callback thread.
    `request`, `want_slots` and `near_end` are called under the pump's lock: they must not block.

    Args:
        warn: takes warnings about user code.
        keep_input: stores the input of a failed item.
        request: takes a request of a task on a worker, with its lane.
        want_slots: called when maps wait for slots of limits that programs share.
        near_end: called with the reason when flow runs are to end because the walltime does.

    Attributes:
        constants: by map id, the constants of maps that wait for futures among them.
    """

    def __init__(
        self, warn: Callable[[str], None], *, keep_input: Callable[[KeepInput], None] = _nothing,
        request: Callable[[int, WorkerRequest], None] = _nothing, want_slots: Callable[[], None] = _nothing,
        near_end: Callable[[str], None] = _nothing,
    ) -> None:  # fmt: skip
        self._warn = warn
        self.keep_input = keep_input
        self.request = request
        self.want_slots = want_slots
        self.near_end = near_end
        self.constants: dict[str, Constants] = {}

    def run_hooks(self, told: RunHooks) -> None:
        """Call the hooks of a final end."""
        user_callbacks.run_hooks(told, self._warn)

    def ask_handlers(self, asked: AskHandlers) -> Verdict:
        """Call the task's state handlers for an end decided in the driver, and bring their answer as an event."""
        return user_callbacks.ask_handlers(asked, self._warn)

    def ask_retry(self, asked: AskRetry) -> Verdict | None:
        """Ask user code about a retry of a timed-out item, and bring the answer as an event."""
        return user_callbacks.ask_retry(asked, self._warn)

    def constants_of(self, map: MapRun) -> Any:
        """Return the constants of a map with the values of their futures; raises the exceptions of these."""
        lifted, upstreams = self.constants.pop(map.id)
        return fill(lifted, [upstream_value(map.scope, up) for up in upstreams])
