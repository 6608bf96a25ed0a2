"""Prefect's result stores: values by key in a file system."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect import filesystems
from anabranch.compat.prefect.exceptions import ConfigurationError
from anabranch.compat.prefect.filesystems import LocalFileSystem
from anabranch.compat.prefect.result_records import ResultRecord, ResultRecordMetadata
from anabranch.compat.prefect.serializers import Serializer
from anabranch.compat.prefect.settings import local_storage_path, setting
from anabranch.compat.prefect.utilities.asyncutils import awaited, either

if TYPE_CHECKING:
    from datetime import datetime

    from anabranch.compat.prefect.locking.protocol import LockManager

__all__ = ["ResultRecord", "ResultRecordMetadata", "ResultStore", "get_default_result_storage", "get_result_store"]

_default_storages: dict[Any, Any] = {}


def _default_storage() -> Any:
    """Return the storage of the setting, else the folder of the settings."""
    given = setting("PREFECT_DEFAULT_RESULT_STORAGE_BLOCK")
    if given:
        return filesystems.saved(given)
    path = str(local_storage_path())
    return _default_storages.setdefault(path, LocalFileSystem(path))


get_default_result_storage, aget_default_result_storage = either(_default_storage), awaited(_default_storage)


def _storage(given: Any) -> Any:
    """Return the storage that a task or flow names: one, a path, or "kind/name"."""
    if isinstance(given, Path):
        return LocalFileSystem(str(given))
    return filesystems.saved(given) if isinstance(given, str) else given


resolve_result_storage, aresolve_result_storage = either(_storage), awaited(_storage)


def resolve_serializer(serializer: Any) -> Any:
    """Return a serializer by its name."""
    return Serializer(type=serializer) if isinstance(serializer, str) else serializer


def get_default_result_serializer() -> Any:
    """Return the serializer of the setting."""
    return resolve_serializer(setting("PREFECT_RESULTS_DEFAULT_SERIALIZER"))


def should_persist_result() -> bool:
    """Return whether results persist without being asked for."""
    return bool(setting("PREFECT_RESULTS_PERSIST_BY_DEFAULT"))


def value_of(metadata: ResultRecordMetadata) -> Any:
    """Return the value that metadata tell of, from its storage."""
    assert metadata.storage_key is not None
    store = ResultStore(_by_id(metadata.storage_block_id), serializer=metadata.serializer)
    return store.read(metadata.storage_key).result


def _by_id(block: uuid.UUID | None) -> Any:
    found = filesystems.WritableFileSystem.saved.values()
    return next((one for one in found if block is not None and one._block_document_id == block), None)


class ResultStore:
    """Values by key.

    Args:
        result_storage: where they lie.
        metadata_storage: where their metadata lie; None: with the values.
        lock_manager: gives the locks of keys.
        serializer: how values become bytes.
    """

    def __init__(
        self, result_storage: Any = None, metadata_storage: Any = None, lock_manager: LockManager | None = None,
        cache_result_in_memory: bool = True, serializer: Any = None, storage_key_fn: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        self.result_storage = _storage(result_storage) if result_storage is not None else _default_storage()
        self.metadata_storage = metadata_storage
        self.lock_manager = lock_manager
        self.cache_result_in_memory = cache_result_in_memory
        self.serializer = resolve_serializer(serializer) or get_default_result_serializer()
        self.storage_key_fn = storage_key_fn or (lambda: uuid.uuid4().hex)

    @property
    def result_storage_block_id(self) -> Any:
        return getattr(self.result_storage, "_block_document_id", None)

    def model_copy(self, *, update: dict[str, Any] | None = None) -> ResultStore:
        """Return a store with some attributes changed."""
        made = object.__new__(ResultStore)
        made.__dict__.update({**self.__dict__, **(update or {})})
        return made

    @staticmethod
    def generate_default_holder() -> str:
        """Return a name for this thread, for locks."""
        return f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"

    def _path(self, key: str) -> str:
        if isinstance(self.result_storage, LocalFileSystem) and self.result_storage_block_id is None:
            return str(self.result_storage._resolve_path(key))
        return key

    def _base(self, key: str) -> str:
        """Return the key that locks and metadata go by, for the key of a record."""
        return Path(key).name if isinstance(self.result_storage, LocalFileSystem) else key

    def create_result_record(
        self, obj: Any, key: str | None = None, expiration: datetime | None = None
    ) -> ResultRecord:
        """Return a record of a value."""
        key = key or self.storage_key_fn()
        block = self.result_storage_block_id
        known = ResultRecordMetadata(self._path(key), expiration, self.serializer, storage_block_id=block)
        return ResultRecord(obj, known)

    def _persist(self, result_record: ResultRecord, holder: str | None = None) -> None:
        """Put a record into the storage; raises RuntimeError where another holder has the key's lock."""
        key = result_record.metadata.storage_key
        assert key is not None
        base = self._base(key)
        holder = holder or self.generate_default_holder()
        if self.lock_manager is not None and self.is_locked(base) and not self.is_lock_holder(base, holder):
            raise RuntimeError(
                f"Cannot write to result record with key {base} because it is locked by another holder."
            )
        self.keep(result_record)

    def keep(self, result_record: ResultRecord) -> None:
        """Put a record into the storage without asking for the key's lock."""
        key = result_record.metadata.storage_key
        assert key is not None
        if self.metadata_storage is None:
            self.result_storage.write_path(key, result_record.serialize(), _sync=True)
        else:
            self.result_storage.write_path(key, result_record.serialize_result(), _sync=True)
            self.metadata_storage.write_path(self._base(key), result_record.serialize_metadata(), _sync=True)
        result_record.mark_persisted()

    persist_result_record, apersist_result_record = _persist, awaited(_persist)

    def _write(
        self, obj: Any, key: str | None = None, expiration: datetime | None = None, holder: str | None = None
    ) -> None:
        """Keep a value under a key."""
        self._persist(self.create_result_record(obj, key, expiration), holder)

    write, awrite = _write, awaited(_write)

    def _read(self, key: str, holder: str | None = None) -> ResultRecord:
        """Return the record of a key; raises ValueError where there is none."""
        holder = holder or self.generate_default_holder()
        if self.lock_manager is not None and not self.is_lock_holder(key, holder):
            self.wait_for_lock(key)
        return self.record(key)

    def record(self, key: str) -> ResultRecord:
        """Return the record of a key without asking for its lock; raises the storage's error where there is none."""
        content = self.result_storage.read_path(self._path(key), _sync=True)
        if content is None:
            raise ValueError(f"there is no result under the key {key!r}")
        if self.metadata_storage is None:
            return ResultRecord.deserialize(content)
        known = self.metadata_storage.read_path(Path(key).name, _sync=True)
        return ResultRecord.deserialize_from_result_and_metadata(content, known)

    read, aread = _read, awaited(_read)

    def found(self, key: str) -> ResultRecord | None:
        """Return the record of a key without asking for its lock; None where there is none, or its time is over."""
        try:
            record = self.record(key)
            return None if record.over else record
        except Exception:  # each storage has its own errors for what is not there
            return None

    def _exists(self, key: str) -> bool:
        """Return whether a value is under a key, and still in its time."""
        return self.found(key) is not None

    exists, aexists = _exists, awaited(_exists)

    # -- locks -----------------------------------------------------------------------------------

    def supports_isolation_level(self, level: Any) -> bool:
        """Return whether transactions of this level can use the store; raises ValueError for an unknown one."""
        name = str(getattr(level, "value", level))
        if name not in ("READ_COMMITTED", "SERIALIZABLE"):
            raise ValueError(f"Unsupported isolation level: {level}")
        return name == "READ_COMMITTED" or self.lock_manager is not None

    def _manager(self) -> LockManager:
        if self.lock_manager is None:
            raise ConfigurationError(
                "Result store is not configured with a lock manager. Please set a lock manager when creating the "
                "result store to enable locking."
            )
        return self.lock_manager

    def acquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Take the lock of a key."""
        return self._manager().acquire_lock(key, holder or self.generate_default_holder(), timeout)

    async def aacquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Take the lock of a key."""
        return await self._manager().aacquire_lock(key, holder or self.generate_default_holder(), timeout)

    def release_lock(self, key: str, holder: str | None = None) -> None:
        """Give the lock of a key back."""
        self._manager().release_lock(key, holder or self.generate_default_holder())

    def is_locked(self, key: str) -> bool:
        return self._manager().is_locked(key)

    def is_lock_holder(self, key: str, holder: str | None = None) -> bool:
        return self._manager().is_lock_holder(key, holder or self.generate_default_holder())

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        return self._manager().wait_for_lock(key, timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        return await self._manager().await_for_lock(key, timeout)


def get_result_store() -> ResultStore:
    """Return a store by the settings here."""
    return ResultStore()
