"""The part of a flow that its runs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.options import FlowOptions
    from anabranch.core.params import Binder
    from anabranch.core.runnable import Runnable
    from anabranch.core.showing import Facts
    from anabranch.runs.rules import FlowRules


class FlowDefinition(Protocol):
    """The contract of a flow, which stands in a higher room.

    Attributes:
        plain_fn: its function.
        rules: how its return value ends it.
        isasync: whether the function is a coroutine function or an async generator.
        _runnable: the flow as the task of its submitted runs.
        _remember: takes what a run that has ended tells of itself.
        _reference: the names of the reference tasks, which decide its final state; None: all tasks.
    """

    name: str
    options: FlowOptions
    binder: Binder

    @property
    def plain_fn(self) -> Callable[..., Any]: ...
    @property
    def isasync(self) -> bool: ...
    @property
    def rules(self) -> FlowRules: ...
    @property
    def _runnable(self) -> Runnable: ...
    @property
    def _reference(self) -> tuple[str, ...] | None: ...
    def _remember(self, run: Facts, /) -> None: ...
