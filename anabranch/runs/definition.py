"""What a run asks of its flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.options import FlowOptions
    from anabranch.core.params import Binder
    from anabranch.core.runnable import Runnable


class FlowDefinition(Protocol):
    """A flow, which is above this room.

    Attributes:
        plain_fn: its function.
        isasync: whether that is a coroutine function or an async generator.
        _runnable: the flow as the task of its submitted runs.
        _reference: the names of the tasks whose runs decide its final state; None: all.
    """

    name: str
    options: FlowOptions
    binder: Binder

    @property
    def plain_fn(self) -> Callable[..., Any]: ...
    @property
    def isasync(self) -> bool: ...
    @property
    def _runnable(self) -> Runnable: ...
    @property
    def _reference(self) -> tuple[str, ...] | None: ...
