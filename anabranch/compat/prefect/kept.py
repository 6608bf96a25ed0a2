"""Prefect's result stores in the form for the engine: those that tasks, policies and transactions name.

    @task(result_storage=, result_serializer=)         --> Kept --> ResultStore --> a file system of Prefect's
    policy.configure(key_storage=, lock_manager=)      -/
    transaction(store=)                                -/
"""

from __future__ import annotations

import importlib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.exceptions import ConfigurationError
from anabranch.compat.prefect.state_exceptions import payload
from anabranch.core.asking import told
from anabranch.core.errors import StoreError
from anabranch.core.stores import Stored

if TYPE_CHECKING:
    from anabranch.compat.prefect.result_records import ResultRecord
    from anabranch.compat.prefect.results import ResultStore
    from anabranch.core.states import State

NO_LOCKS = (
    "Isolation level SERIALIZABLE is not supported by provided configuration. Please ensure you've provided a lock "
    "file directory or lock manager when using the SERIALIZABLE isolation level."
)


class Kept:
    """A result store that gives and takes values by key, and has locks where it has a lock manager.

    Args:
        serial: whether two runs of one key have to wait for each other.
    """

    blocks = None

    def __init__(self, store: ResultStore, serial: bool = False) -> None:
        self.store = store
        self.serial = serial

    def __repr__(self) -> str:
        return f"ResultStore({self.store.result_storage!r})"

    def exists(self, key: str) -> bool:
        return self.store.found(key) is not None

    def read(self, key: str) -> Stored | None:
        found = self.store.found(key)
        if found is None:
            return None
        return Stored(found.result, 0.0, None if found.expiration is None else found.expiration.timestamp())

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        until = None if expires is None else datetime.fromtimestamp(expires, UTC)
        try:
            self.put(self.store.create_result_record(value, key, until))
        except Exception as error:  # each storage and each serializer has errors of its own
            raise StoreError(f"{told(error)} (key {key!r} in {self!r})") from error
        return 0

    def put(self, record: ResultRecord) -> None:
        """Keep a record; the engine has the lock of its key."""
        self.store.keep(record)

    def delete(self, key: str) -> None:
        raise StoreError(f"{self!r} deletes no values: delete the file {key!r} by hand")

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        if self.store.lock_manager is not None:
            return self.store.acquire_lock(key, owner, 0) or self._taken_over(key, owner)
        if self.serial:
            raise ConfigurationError(NO_LOCKS)
        return True

    def _taken_over(self, key: str, owner: str) -> bool:
        """Take the lock of an earlier attempt of the same run: its worker died, and Prefect's locks do not end."""
        run, mark, attempt = owner.rpartition("#")
        if not mark:
            return False  # a transaction's: it has no attempts
        for earlier in (f"{run}#{number}" for number in range(1, int(attempt))):
            if self.store.is_lock_holder(key, earlier):
                self.store.release_lock(key, earlier)
                return self.store.acquire_lock(key, owner, 0)
        return False

    def unlock(self, key: str, owner: str) -> None:
        if self.store.lock_manager is not None and self.store.is_lock_holder(key, owner):
            self.store.release_lock(key, owner)


class OwnKey:
    """The policy of a value that is kept and never looked up: each run has a key of its own."""

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str:
        return uuid.uuid4().hex


class KeepsValue:
    """A hook of a flow: it keeps the value of each of its runs, under a key of its own."""

    def __init__(self, store: Kept) -> None:
        self.store = store
        self.__name__ = "keeps_value"

    def __call__(self, flow: Any, run: Any, state: State) -> None:
        self.store.write(uuid.uuid4().hex, payload(state.data))


def asked_store(result_storage: Any, result_serializer: Any, policy: Any = None) -> Kept | None:
    """Return the store that arguments and a cache policy ask for; None where they ask for none."""
    keys, locks = getattr(policy, "key_storage", None), getattr(policy, "lock_manager", None)
    level = getattr(policy, "isolation_level", None)
    serial = str(getattr(level, "value", level)) == "SERIALIZABLE"
    if not serial and all(one is None for one in (result_storage, result_serializer, keys, locks)):
        return None
    results = importlib.import_module("anabranch.compat.prefect.results")  # other programs do not load it
    if isinstance(keys, str) and keys.count("/") != 1:
        keys = Path(keys)
    keys = None if keys is None else results.resolve_result_storage(keys, _sync=True)
    store = results.ResultStore(result_storage, keys, locks, serializer=result_serializer)
    return Kept(store, serial)
