"""Locks of Prefect's results, as the engine asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.compat.prefect.filesystems import LocalFileSystem
from anabranch.compat.prefect.kept import Kept
from anabranch.compat.prefect.locking.filesystem import FileSystemLockManager
from anabranch.compat.prefect.results import ResultStore

if TYPE_CHECKING:
    from pathlib import Path


def kept(folder: Path) -> Kept:
    locks = FileSystemLockManager(lock_files_directory=folder / "locks")
    return Kept(ResultStore(result_storage=LocalFileSystem(basepath=str(folder)), lock_manager=locks))


def test_a_later_attempt_takes_the_lock_that_died_with_the_worker_of_an_earlier_one(tmp_path: Path) -> None:
    store = kept(tmp_path)
    assert store.lock("key", "run#1", 60.0)
    assert not store.lock("key", "other#2", 60.0)  # another run waits
    assert store.lock("key", "run#3", 60.0)
    assert not store.lock("key", "run#2", 60.0)  # an earlier attempt that wakes takes nothing back
    store.unlock("key", "run#3")
    assert store.lock("key", "other#2", 60.0)


def test_an_owner_without_attempts_waits_for_another_one(tmp_path: Path) -> None:
    """As blocks of transactions do."""
    store = kept(tmp_path)
    assert store.lock("key", "0af3", 60.0)
    assert not store.lock("key", "77e1", 60.0)
