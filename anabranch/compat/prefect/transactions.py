"""Prefect's transactions: ours, with the values of a `ResultStore`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, cast

from anabranch import transactions as ours
from anabranch.compat.prefect import kept
from anabranch.compat.prefect.exceptions import ConfigurationError
from anabranch.compat.prefect.filesystems import NullFileSystem
from anabranch.compat.prefect.result_records import ResultRecord
from anabranch.compat.prefect.results import ResultStore
from anabranch.engine import drive
from anabranch.engine.steps import Call
from anabranch.transactions import CommitMode, IsolationLevel, TransactionState, ends, get_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from anabranch.engine.steps import Step

__all__ = [
    "AsyncTransaction", "BaseTransaction", "CommitMode", "IsolationLevel", "Transaction", "TransactionState",
    "atransaction", "get_transaction", "transaction",
]  # fmt: skip


class _Kept(kept.Kept):
    """A transaction's store.

    Args:
        holder: of the locks; the holder of a key's lock reads and writes under it, others wait.
    """

    def __init__(self, store: ResultStore, holder: str | None = None) -> None:
        super().__init__(store)
        self.holder = holder

    def wait(self, key: str) -> None:
        """Wait for the end of another block that holds the key's lock."""
        if self.store.lock_manager is not None and not self.store.is_lock_holder(key, self.holder):
            self.store.wait_for_lock(key)

    def held(self, key: str) -> ResultRecord:
        return self.store.read(key, self.holder)

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        if isinstance(value, ResultRecord):
            self.store.persist_result_record(value, self.holder)
        else:
            self.store.write(value, key, holder=self.holder)
        return 0


def _called(fn: Callable[[], Any]) -> Generator[Step, Any, Any]:
    """Return the policy that calls a function, a coroutine function too, and waits for its answer."""
    return (yield Call(fn, blocking=not inspect.iscoroutinefunction(fn)))


class Transaction(ours.Transaction):
    """A block of task runs that count together or not at all."""

    own_commit: ClassVar[Callable[..., Any]] = ours.Transaction.commit  # not that of a subclass of the user's

    def __init__(
        self, key: str | None = None, store: Any = None, commit_mode: CommitMode | None = None,
        isolation_level: IsolationLevel | None = None, overwrite: bool = False, write_on_commit: bool = True,
        logger: Any = None, children: Sequence[Any] = (), on_commit_hooks: Sequence[Callable[..., Any]] = (),
        on_rollback_hooks: Sequence[Callable[..., Any]] = (), **_: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            key, store, commit_mode=commit_mode, isolation_level=isolation_level, overwrite=overwrite,
            write_on_commit=write_on_commit, on_commit=on_commit_hooks, on_rollback=on_rollback_hooks,
        )  # fmt: skip
        self.children += children

    @property
    def kept(self) -> Any:
        """The store of its value: its own, or that of the block around, or one by the settings."""
        if self.store is None:
            around: Any = self.parent
            self.store = getattr(around, "store", None) or ResultStore()  # type: ignore[assignment]
        store: Any = self.store
        if not isinstance(store, ResultStore):
            return store
        return _Kept(store, None if self.lease is None else self.lease.owner)

    @classmethod
    def get_active(cls) -> Any:
        """Return the innermost transaction around this code."""
        return get_transaction()

    def get_parent(self) -> Any:
        """Return the transaction around it."""
        return self.parent

    def begin(self) -> Any:
        """Look whether the key has a value, and take its lock, where that is asked for."""
        drive.run(ends.begun(self))

    def add_child(self, transaction: Any) -> None:
        """Make another transaction a part of this one."""
        transaction.parent = self
        self.children.append(transaction)

    def read(self) -> Any:
        """Return the record of the value under the key; None where there is none."""
        found = self.kept
        if self.key and isinstance(found, _Kept):
            found.wait(self.key)
        if not self.key or not found.exists(self.key):
            return None
        return found.held(self.key) if isinstance(found, _Kept) else found.read(self.key)

    def committed(self) -> Generator[Step, Any, bool]:
        """Commit it with the block around; a subclass's own `commit` is called."""
        if type(self).commit is type(self).own_commit:
            return ends.committed(self)
        return _called(self.commit)

    def _prepare(self) -> None:
        super()._prepare()
        if self.key and self.store is None:
            _ = self.kept
        level, store = self.isolation_level, cast("Any", self.store)
        if level is None or not isinstance(store, ResultStore) or store.supports_isolation_level(level):
            return
        raise ConfigurationError(kept.NO_LOCKS)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Transaction):
            return False
        if other is self:
            return True
        mine = (self.key, self.state, self.commit_mode, self.isolation_level, self.children, self._values)
        return mine == (
            other.key, other.state, other.commit_mode, other.isolation_level, other.children, other._values
        )  # fmt: skip

    def __hash__(self) -> int:
        return id(self)


class AsyncTransaction(Transaction):
    """A transaction for `async with` blocks: its methods are coroutines."""

    async def begin(self) -> None:
        """Look whether the key has a value, and take its lock, where that is asked for."""
        await drive.run_async(ends.begun(self))

    async def read(self) -> Any:
        """Return the record of the value under the key; None where there is none."""
        return await drive.run_async(_called(super().read))

    async def commit(self) -> bool:  # type: ignore[override]
        """Commit now."""
        return await drive.run_async(ends.committed(self))

    own_commit = commit

    async def rollback(self) -> bool:  # type: ignore[override]
        """Roll back now."""
        return await drive.run_async(ends.rolled_back(self))


BaseTransaction = Transaction


def transaction(
    key: str | None = None, store: Any = None, commit_mode: Any = None, isolation_level: Any = None,
    overwrite: bool = False, write_on_commit: bool = True, logger: Any = None,
) -> Transaction:  # fmt: skip
    """Return a transaction for a `with` or `async with` block."""
    level = None if isolation_level is None else IsolationLevel(isolation_level)
    mode = None if commit_mode is None else CommitMode(commit_mode)
    if key and store is None:
        store = ResultStore()
    if isinstance(getattr(store, "metadata_storage", None), NullFileSystem):  # else no value would ever be found again
        store = store.model_copy(update={"metadata_storage": None})
    return Transaction(key, store, mode, level, overwrite, write_on_commit)


def atransaction(*args: Any, **kwargs: Any) -> AsyncTransaction:
    """Return a transaction for an `async with` block."""
    made = transaction(*args, **kwargs)
    return AsyncTransaction(
        made.key, made.store, made.commit_mode, made.isolation_level, made.overwrite, made.write_on_commit
    )
