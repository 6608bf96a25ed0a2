"""Prefect's transactions, by anabranch's: the same class for `with` and `async with`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import transactions as ours
from anabranch.engine import drive
from anabranch.transactions import CommitMode, IsolationLevel, TransactionState, ends, get_transaction

if TYPE_CHECKING:
    from anabranch.core.stores import ResultStore

__all__ = [
    "AsyncTransaction", "BaseTransaction", "CommitMode", "IsolationLevel", "Transaction", "TransactionState",
    "atransaction", "get_transaction", "transaction",
]  # fmt: skip

BaseTransaction = ours.Transaction


class Transaction(ours.Transaction):
    """A transaction for `with` blocks."""

    @classmethod
    def get_active(cls) -> ours.Transaction | None:
        return get_transaction()

    def get_parent(self) -> ours.Transaction | None:
        return self.parent

    def begin(self) -> None:
        """Look whether the key has a value, and take its lock, where that is asked for."""
        drive.run(ends.begun(self))


class AsyncTransaction(Transaction):
    """A transaction for `async with` blocks: its methods are coroutines."""

    async def begin(self) -> None:  # type: ignore[override]
        await drive.run_async(ends.begun(self))

    async def read(self) -> Any:
        return super().read()

    async def commit(self) -> bool:  # type: ignore[override]
        return await drive.run_async(ends.committed(self))

    async def rollback(self) -> bool:  # type: ignore[override]
        return await drive.run_async(ends.rolled_back(self))


def transaction(
    key: str | None = None, store: ResultStore | None = None, commit_mode: CommitMode | None = None,
    isolation_level: IsolationLevel | None = None, overwrite: bool = False, write_on_commit: bool = True,
    logger: Any = None,
) -> Transaction:  # fmt: skip
    """Return a transaction for a `with` block; its lines go to the log whatever the logger is."""
    return Transaction(
        key, store, commit_mode=commit_mode, isolation_level=isolation_level, overwrite=overwrite,
        write_on_commit=write_on_commit,
    )  # fmt: skip


def atransaction(
    key: str | None = None, store: ResultStore | None = None, commit_mode: CommitMode | None = None,
    isolation_level: IsolationLevel | None = None, overwrite: bool = False, write_on_commit: bool = True,
    logger: Any = None,
) -> AsyncTransaction:  # fmt: skip
    """Return a transaction for an `async with` block."""
    return AsyncTransaction(
        key, store, commit_mode=commit_mode, isolation_level=isolation_level, overwrite=overwrite,
        write_on_commit=write_on_commit,
    )  # fmt: skip
