"""Values and locks of Prefect's results, as the engine asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.filesystems import LocalFileSystem
from anabranch.compat.prefect.kept import Kept
from anabranch.compat.prefect.locking.filesystem import FileSystemLockManager
from anabranch.compat.prefect.results import ResultStore

if TYPE_CHECKING:
    from pathlib import Path


def kept(folder: Path) -> Kept:
    locks = FileSystemLockManager(lock_files_directory=folder / "locks")
    return Kept(ResultStore(result_storage=LocalFileSystem(basepath=str(folder)), lock_manager=locks))


class Counted(LocalFileSystem):
    """A storage that counts what is read of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.reads = 0

    def read_path(self, path: str, **given: Any) -> bytes:
        self.reads += 1
        found: bytes = super().read_path(path, **given)
        return found


def test_a_value_is_read_once(tmp_path: Path) -> None:
    storage = Counted(tmp_path)
    store = Kept(ResultStore(result_storage=storage))
    store.write("key", 7)
    found = store.read("key")
    assert (found is not None and found.value, storage.reads) == (7, 1)


def test_a_value_past_its_time_is_not_found(tmp_path: Path) -> None:
    store = Kept(ResultStore(result_storage=Counted(tmp_path)))
    store.write("key", 7, expires=1.0)
    assert (store.exists("key"), store.read("key"), store.read("other")) == (False, None, None)


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
