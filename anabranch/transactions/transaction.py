"""`transaction`: a block of task runs that are committed together, or undone by their rollback hooks.

    with transaction() as txn:      ACTIVE
        write(path)                 a part of it; STAGED when the run has completed
        check(path)                 fails: txn is rolled back, `write`'s on_rollback hook is called
                                    all completed: COMMITTED at the end of the block
"""

from __future__ import annotations

import copy
import uuid
from typing import TYPE_CHECKING, Any, Self, cast

from anabranch import session as sessions
from anabranch.core.runs import TransitionRow
from anabranch.core.states import ROLLED_BACK, is_success
from anabranch.core.transactions import block_here
from anabranch.engine import drive
from anabranch.transactions import ends
from anabranch.transactions.lease import Lease
from anabranch.transactions.members import NotBegun, Submitted
from anabranch.transactions.modes import CommitMode, IsolationLevel, TransactionState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextvars import Token

    from anabranch.core.stores import ResultStore
    from anabranch.core.transactions import Block, Run, Work
    from anabranch.engine.steps import Step

_MISSING = object()


class Transaction:
    """A block of task runs that count together or not at all; made by `transaction`, for `with` or `async with`.

    Attributes:
        key: of the value in the result store; None: there is no value.
        state: PENDING, ACTIVE, STAGED, COMMITTED or ROLLED_BACK.
        parent: the transaction around it, known once it was entered.
        children: blocks inside of it that have ended, and task runs.
    """

    def __init__(
        self, key: str | None = None, store: ResultStore | None = None, *, commit_mode: CommitMode | None = None,
        isolation_level: IsolationLevel | None = None, overwrite: bool = False, write_on_commit: bool = True,
        on_commit: Sequence[Callable[..., Any]] = (), on_rollback: Sequence[Callable[..., Any]] = (),
    ) -> None:  # fmt: skip
        self.key = key
        self.store = store
        self.commit_mode = commit_mode
        self.isolation_level = isolation_level
        self.overwrite = overwrite
        self.write_on_commit = write_on_commit
        self.on_commit_hooks: list[Callable[..., Any]] = list(on_commit)
        self.on_rollback_hooks: list[Callable[..., Any]] = list(on_rollback)
        self.state = TransactionState.PENDING
        self.parent: Transaction | None = None
        self.children: list[ends.Member] = []
        self.staged_value: Any = None
        self.lease: Lease | None = None
        self.is_told = True  # whether a line tells of each hook: not of each item of a map
        self.is_given_up = False
        self._run: Run | None = None
        self._values: dict[str, Any] = {}
        self._token: Token[Block | None] | None = None

    def __str__(self) -> str:
        return repr(self.key) if self.key else f"<{self.state}>"

    @property
    def kept(self) -> ResultStore:
        """The store of its value: its own, or that of the program."""
        if self.store is None:
            self.store = sessions.current().store
        return self.store

    # -- values of its own -------------------------------------------------------------------------

    def set(self, name: str, value: Any) -> None:
        """Keep a value under a name for code and hooks of this block, and of blocks inside of it."""
        self._values[name] = value

    def get(self, name: str, default: Any = _MISSING) -> Any:
        """Return a copy of what is kept under a name here, or in a block around.

        Raises:
            ValueError: there is nothing of that name, and no default.
        """
        here: Transaction | None = self
        while here is not None:
            if name in here._values:
                return copy.deepcopy(here._values[name])
            here = here.parent
        if default is _MISSING:
            raise ValueError(f"Could not retrieve value for unknown key: {name}")
        return default

    # -- its value in the store --------------------------------------------------------------------

    def stage(
        self, value: Any, on_rollback_hooks: Sequence[Callable[..., Any]] = (),
        on_commit_hooks: Sequence[Callable[..., Any]] = (),
    ) -> None:  # fmt: skip
        """Give the value that the commit writes under the key; does nothing once it is committed."""
        if self.state is not TransactionState.COMMITTED:
            self.staged_value = value
            self.on_rollback_hooks += on_rollback_hooks
            self.on_commit_hooks += on_commit_hooks
            self.state = TransactionState.STAGED

    def read(self) -> Any:
        """Return the value under the key; None when there is none, or no key.

        Raises:
            StoreError: it cannot be read.
        """
        found = self.kept.read(self.key) if self.key else None
        return None if found is None else found.value

    def is_pending(self) -> bool:
        return self.state is TransactionState.PENDING

    def is_active(self) -> bool:
        return self.state is TransactionState.ACTIVE

    def is_staged(self) -> bool:
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        return self.state is TransactionState.ROLLED_BACK

    # -- its ends ----------------------------------------------------------------------------------

    def commit(self) -> bool:
        """Commit now; returns False where it is over, or could not be committed and was rolled back (logged)."""
        return drive.run(ends.committed(self))

    def rollback(self) -> bool:
        """Roll back now; returns False where it is over, or a hook failed (logged)."""
        return drive.run(ends.rolled_back(self))

    def __enter__(self) -> Self:
        self._prepare()
        drive.run(ends.begun(self))
        self._token = block_here.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._reset()
        drive.run(ends.left(self, error))

    async def __aenter__(self) -> Self:
        self._prepare()
        await drive.run_async(ends.begun(self))
        self._token = block_here.set(self)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._reset()
        await drive.run_async(ends.left(self, error))

    def _prepare(self) -> None:
        if self.state is not TransactionState.PENDING:
            raise RuntimeError("a transaction is entered once: make another one by transaction()")
        self.parent = get_transaction()
        around = self.parent
        if self.commit_mode is None:
            self.commit_mode = around.commit_mode if around is not None else CommitMode.LAZY
        if self.isolation_level is None:
            self.isolation_level = around.isolation_level if around is not None else IsolationLevel.READ_COMMITTED
        self.state = TransactionState.ACTIVE
        if self.key and self.isolation_level is IsolationLevel.SERIALIZABLE:
            self.lease = Lease(self.kept, self.key, uuid.uuid4().hex)

    def _reset(self) -> None:
        if self._token is None:
            raise RuntimeError("a transaction was left that was not entered")
        block_here.reset(self._token)
        self._token = None

    # -- as a member of the block around -----------------------------------------------------------

    def ended(self) -> Generator[Step, Any, str | None]:
        yield from ()
        return None

    def committed(self) -> Generator[Step, Any, bool]:
        return ends.committed(self)

    def rolled_back(self) -> Generator[Step, Any, bool]:
        return ends.rolled_back(self)

    # -- task runs inside --------------------------------------------------------------------------

    def part(self, task: Work, run: Run, policy: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        part = self._inside(task, run)
        token = block_here.set(part)
        try:
            result = yield from policy
        finally:
            block_here.reset(token)
        return (yield from self._joined(part, result))

    def streamed(self, task: Work, run: Run, policy: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        part = self._inside(task, run)
        result = yield from policy  # between its items other code runs: this part is not around that
        return (yield from self._joined(part, result))

    def _joined(self, part: Transaction, result: Any) -> Generator[Any, Any, Any]:
        """Take in a run that has ended; one that failed, or could not settle, rolls the transaction back."""
        yield from ends.settled(part)
        failed = not is_success(result.code)
        if failed:  # there is nothing of its own to undo: only what it has called and submitted
            part._run = None
            part.on_rollback_hooks.clear()
        if failed or part.is_given_up:
            yield from ends.rolled_back(part)
            yield from ends.rolled_back(self)
        else:
            part.state = TransactionState.STAGED
            self.children.append(part)
        return result

    def refused(self, task: Work) -> None:
        self.children.append(NotBegun(task))

    def submitted(self, task: Work, future: Any) -> None:
        self.children.append(Submitted(task, future, lambda run: self._inside(task, run)))

    def _inside(self, task: Work, run: Run) -> Transaction:
        """Return the transaction of one run of a task."""
        part = Transaction(on_commit=task.options.on_commit, on_rollback=task.options.on_rollback)
        part.parent, part._run, part.state = self, run, TransactionState.ACTIVE
        return part

    def note_rollback(self) -> None:
        """Write into the record that the run was rolled back; its own state stays, for it has ended."""
        run = self._run
        if run is None or run.map_id == "inner":
            return
        now = sessions.current()
        told = "Task rolled back as part of transaction"
        when = now.clock.time()
        now.write([TransitionRow(run.map_id, run.index, run.attempt, ROLLED_BACK, "RolledBack", told, when)])


def transaction(
    key: str | None = None,
    store: ResultStore | None = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
) -> Transaction:
    """Return a transaction for a `with` or `async with` block: its task runs are committed together, or rolled back.

        @task
        def write(path): ...

        @write.on_rollback
        def remove(txn): os.unlink(txn.get("path"))

        with transaction() as txn:
            txn.set("path", path)
            write(path)
            check(path)

    An exception in the block, and a task run in it that does not complete, roll it back: the `on_rollback` hooks of the
    runs that completed are called, the last run first. Else the `on_commit` hooks are called at its end. The block
    waits there for the runs and maps that were submitted in it.

    Args:
        key: of a value in the result store. Where there is one, the transaction is committed from the begin: the code
            of the block asks `is_committed()`, and takes `read()`. Else the commit writes what was staged.
        store: the result store; None: that of the program.
        commit_mode: LAZY, EAGER or OFF; None: as the block around, LAZY without one.
        isolation_level: READ_COMMITTED or SERIALIZABLE, under which one block at a time has the key, on all machines
            that share the store; None: as the block around, READ_COMMITTED without one.
        overwrite: whether the commit replaces a value that is there.
        write_on_commit: False: the commit writes nothing.

    Raises:
        ValueError: there is no such mode or level.
        StoreError: the store cannot be asked.

    Not promised: anything once the program has died; what was done is not undone by another one.
    """
    return Transaction(
        key, store, commit_mode=None if commit_mode is None else CommitMode(commit_mode),
        isolation_level=None if isolation_level is None else IsolationLevel(isolation_level),
        overwrite=overwrite, write_on_commit=write_on_commit,
    )  # fmt: skip


def get_transaction() -> Transaction | None:
    """Return the innermost transaction around this code; in a task that was called in one, that of its run."""
    return cast("Transaction | None", block_here.get())
