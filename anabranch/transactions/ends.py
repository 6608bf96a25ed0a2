"""How transactions end, as policy: it yields steps, and the drivers of `engine/drive.py` carry them out.

    block ends well --> members waited for --> all completed? --> committed: members first, hooks, then the value
    an exception, or a member that failed -------------------> rolled back: hooks in reverse, then members in reverse
"""

from __future__ import annotations

import asyncio
from logging import getLogger
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core.asking import name_of
from anabranch.engine.steps import Call, Sleep
from anabranch.transactions.modes import OVER, CommitMode, TransactionState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from anabranch.core.stores import ResultStore
    from anabranch.engine.steps import Step
    from anabranch.transactions.lease import Lease

LOOK_SECONDS = 0.05  # between two tries to take a lock
_STOPS = (KeyboardInterrupt, SystemExit, asyncio.CancelledError)  # not GeneratorExit, after which nothing is done
log = getLogger("anabranch.transactions")


class Member(Protocol):
    """A part of a transaction: a block inside it, or task runs."""

    @property
    def is_given_up(self) -> bool:
        """Whether its rollback has begun."""
        ...

    def ended(self) -> Generator[Step, Any, str | None]:
        """Wait for its end; returns what failed of it, None when nothing has."""
        ...

    def committed(self) -> Generator[Step, Any, bool]: ...

    def rolled_back(self) -> Generator[Step, Any, bool]: ...


class Txn(Protocol):
    """What is asked of a transaction here."""

    key: str | None
    overwrite: bool
    write_on_commit: bool
    commit_mode: CommitMode | None
    state: TransactionState
    children: list[Member]
    on_commit_hooks: list[Callable[..., Any]]
    on_rollback_hooks: list[Callable[..., Any]]
    staged_value: Any
    lease: Lease | None
    is_told: bool
    is_given_up: bool  # its rollback has begun: even if a hook of that fails, it is never committed

    @property
    def parent(self) -> Txn | None: ...

    @property
    def kept(self) -> ResultStore: ...

    def ended(self) -> Generator[Step, Any, str | None]: ...

    def committed(self) -> Generator[Step, Any, bool]: ...

    def rolled_back(self) -> Generator[Step, Any, bool]: ...

    def note_rollback(self) -> None: ...


def begun(txn: Txn) -> Generator[Step, Any, None]:
    """Take the lock where it is asked for; a key that has a value already makes the transaction a committed one."""
    try:
        if txn.lease is not None:
            while not (yield Call(txn.lease.take, blocking=True)):
                yield Sleep(LOOK_SECONDS)
        if txn.key and not txn.overwrite and (yield Call(txn.kept.exists, (txn.key,), blocking=True)):
            txn.state = TransactionState.COMMITTED
    except (Exception, *_STOPS):  # the block will not be left, because it is not entered
        yield from _freed(txn)
        raise


def left(txn: Txn, error: BaseException | None) -> Generator[Step, Any, None]:
    """End the block, after an exception or without."""
    if error is None:
        try:
            yield from settled(txn)
        except (Exception, *_STOPS) as stopped:
            yield from left(txn, stopped)
            raise
    if error is not None or txn.is_given_up:
        yield from rolled_back(txn)
        yield from _undone(txn.children)  # what has completed behind the rollback, or behind a hook that failed
    elif txn.commit_mode is CommitMode.EAGER or (txn.parent is None and txn.commit_mode is CommitMode.LAZY):
        yield from committed(txn)
    elif txn.parent is None:
        yield from rolled_back(txn)
    yield from _freed(txn, txn.parent is None or txn.state in OVER)
    if txn.parent is not None:
        txn.parent.children.append(txn)
        if txn.is_given_up:
            yield from rolled_back(txn.parent)


def settled(txn: Txn) -> Generator[Step, Any, None]:
    """Wait for the members; one that has not completed rolls the transaction back."""
    for member in list(txn.children):
        failed = yield from member.ended()
        if failed is not None and txn.state not in OVER and not txn.is_given_up:
            log.warning("Transaction %s is rolled back: %s", txn, failed)
            yield from rolled_back(txn)


def committed(txn: Txn) -> Generator[Step, Any, bool]:
    """Commit; a failure on the way rolls it back. Returns whether it was committed now."""
    if txn.state in OVER or txn.is_given_up:
        yield from _freed(txn)
        return False
    try:
        for member in txn.children:
            yield from member.committed()
            if member.is_given_up:
                raise RuntimeError(f"a part of it could not be committed: {member}")
        yield from hooks_called(txn, txn.on_commit_hooks, "commit")
        if txn.lease is not None and txn.lease.is_lost:
            raise RuntimeError(f"another program took the lock on {txn.key!r} meanwhile")
        if txn.key and txn.write_on_commit:
            yield Call(txn.kept.write, (txn.key, txn.staged_value), blocking=True)
    except (Exception, *_STOPS) as error:
        log.exception("Transaction %s could not be committed, and is rolled back", txn)
        yield from rolled_back(txn)
        if isinstance(error, _STOPS):
            raise
        return False
    txn.state = TransactionState.COMMITTED
    yield from _freed(txn)
    return True


def rolled_back(txn: Txn) -> Generator[Step, Any, bool]:
    """Roll back; returns whether that was done now, and wholly. A hook that fails ends it, and is logged."""
    if txn.state in OVER or txn.is_given_up:
        return False
    txn.is_given_up = True
    try:
        yield from hooks_called(txn, tuple(reversed(txn.on_rollback_hooks)), "rollback", told=txn.is_told)
        txn.state = TransactionState.ROLLED_BACK
        txn.note_rollback()
        yield from _undone(txn.children)
    except Exception:
        log.exception("Transaction %s could not be rolled back wholly", txn)
        return False
    finally:
        yield from _freed(txn)
    return True


def hooks_called(
    txn: Txn, hooks: Iterable[Callable[..., Any]], kind: str, *, told: bool = True
) -> Generator[Step, Any, None]:
    """Call hooks `(transaction)`, which may be coroutine functions; raises what they raise.

    Args:
        told: whether a line tells of each.
    """
    for hook in hooks:
        if told:
            log.info("Running %s hook %r", kind, name_of(hook))
        try:
            yield Call(hook, (txn,))
        except Exception:
            log.error("The %s hook %r has failed", kind, name_of(hook))
            raise


def _undone(members: list[Member]) -> Generator[Step, Any, None]:
    for member in reversed(members):
        yield from member.rolled_back()


def _freed(txn: Txn, now: bool = True) -> Generator[Step, Any, None]:
    if now and txn.lease is not None:
        yield Call(txn.lease.free, blocking=True)
