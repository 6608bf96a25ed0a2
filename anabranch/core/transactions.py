"""The contract between a transaction and the task runs inside its block."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence


class Hooks(Protocol):
    """The options of a task that concern transactions: functions `(transaction)`."""

    @property
    def on_commit(self) -> Sequence[Callable[..., Any]]: ...

    @property
    def on_rollback(self) -> Sequence[Callable[..., Any]]: ...


class Work(Protocol):
    """A task."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Hooks: ...


class Run(Protocol):
    """A run of it: its place in the record, "inner" where it has none, and its attempt."""

    @property
    def map_id(self) -> str: ...

    @property
    def index(self) -> int: ...

    @property
    def attempt(self) -> int: ...


class Block(Protocol):
    """A transaction, as tasks that run inside its block see it."""

    def part(self, task: Work, run: Run, policy: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Return the policy of a plain call as a part of the transaction; its result has the code of its state."""
        ...

    def streamed(self, task: Work, run: Run, policy: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Do as `part` for a call that gives its items one by one: a part once it has ended inside of the block."""
        ...

    def refused(self, task: Work) -> None:
        """Take note of a call that did not begin, because an input had failed: the transaction is rolled back."""
        ...

    def submitted(self, task: Work, future: Any) -> None:
        """Take a submitted run, or a map, as a part of the transaction: a Future or a FutureList."""
        ...


block_here: ContextVar[Block | None] = ContextVar("anabranch_transaction", default=None)
