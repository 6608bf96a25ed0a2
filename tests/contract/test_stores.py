"""What every result store promises, over disk, memory and remote addresses alike."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import SerializationError
from anabranch.results.disk import DiskStore
from anabranch.results.memory import MemoryStore
from anabranch.results.remote import RemoteStore

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.stores import ResultStore
    from tests.clock import Clock


STORES = [
    *("disk", "disk-json", "disk-compressed", "memory", "remote-memory", "remote-renaming"),
    pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.timeout(180)]),
]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> ResultStore:
    match request.param:
        case "disk":
            return DiskStore(tmp_path / "store", clock=clock)
        case "disk-json":
            return DiskStore(tmp_path / "store", "json", clock=clock)
        case "disk-compressed":
            return DiskStore(tmp_path / "store", "compressed/pickle", clock=clock)
        case "remote-memory":
            return RemoteStore(f"memory://{tmp_path}", clock=clock)
        case "remote-renaming":  # as on sftp and the like
            return RemoteStore(f"local://{tmp_path}/store", clock=clock)
        case "s3":
            return RemoteStore(request.getfixturevalue("s3_address"), clock=clock)
        case _:
            return MemoryStore(clock=clock)


@pytest.mark.parametrize("value", [None, 0, "text", [1, 2.5, None], {"a": {"b": [True]}}, "x" * 1_000_000])
def test_reads_what_was_written(store: ResultStore, clock: Clock, value: Any) -> None:
    size = store.write("key", value)
    stored = store.read("key")
    assert stored is not None
    assert (stored.value, stored.created, stored.expires) == (value, clock.now, None)
    assert size > 0


def test_nothing_there(store: ResultStore) -> None:
    assert store.read("key") is None
    assert not store.exists("key")
    store.delete("key")
    store.unlock("key", "me")


@pytest.mark.parametrize(
    "key",
    ["", "a", "../../etc/passwd", "/etc/passwd", "a/b\\c", "nul\0byte", "ü\udcff😀", "k" * 100_000, "..", "\n", "CON"],
    ids=range(11),
)
def test_keys_are_any_text(store: ResultStore, key: str) -> None:
    store.write(key, "mine")
    store.write(key + "2", "other")
    assert store.exists(key)
    stored = store.read(key)
    assert stored is not None
    assert stored.value == "mine"
    assert store.lock(key, "me", 10)
    store.unlock(key, "me")
    store.delete(key)
    assert not store.exists(key)
    assert store.exists(key + "2")


def test_keys_differ_by_case(store: ResultStore) -> None:
    store.write("Key", 1)
    store.write("key", 2)
    first, second = store.read("Key"), store.read("key")
    assert first is not None
    assert second is not None
    assert (first.value, second.value) == (1, 2)


def test_a_write_replaces(store: ResultStore, clock: Clock) -> None:
    store.write("key", "old", expires=clock.now + 1)
    clock.now += 5
    store.write("key", "new")
    stored = store.read("key")
    assert stored is not None
    assert (stored.value, stored.created, stored.expires) == ("new", clock.now, None)


def test_expires_at_its_time(store: ResultStore, clock: Clock) -> None:
    store.write("key", 1, expires=clock.now + 10)
    clock.now += 9.999
    assert store.exists("key")
    stored = store.read("key")
    assert stored is not None
    assert stored.expires == pytest.approx(clock.now + 0.001)
    clock.now += 0.001
    assert store.read("key") is None
    assert not store.exists("key")


def test_a_reader_has_its_own_copy(store: ResultStore) -> None:
    value = [1]
    store.write("key", value)
    value.append(2)
    stored = store.read("key")
    assert stored is not None
    stored.value.append(3)
    again = store.read("key")
    assert again is not None
    assert again.value == [1]


def test_an_unpicklable_value_leaves_the_old_one(store: ResultStore) -> None:
    store.write("key", "old")
    with pytest.raises(SerializationError, match=r"value\['inner'\]\[1\] \(_thread.lock\)"):
        store.write("key", {"fine": 1, "inner": [0, threading.Lock()]})
    stored = store.read("key")
    assert stored is not None
    assert stored.value == "old"


def test_one_holds_the_lock(store: ResultStore) -> None:
    assert store.lock("key", "a", 10)
    assert not store.lock("key", "b", 10)
    assert store.lock("other", "b", 10)
    store.unlock("key", "b")  # not b's
    assert not store.lock("key", "b", 10)
    store.unlock("key", "a")
    assert store.lock("key", "b", 10)


def test_an_owner_prolongs_its_lock(store: ResultStore, clock: Clock) -> None:
    assert store.lock("key", "a", 10)
    clock.now += 9
    assert store.lock("key", "a", 10)
    clock.now += 9
    assert not store.lock("key", "b", 10)


def test_a_lock_lapses_at_its_time(store: ResultStore, clock: Clock) -> None:
    assert store.lock("key", "a", 10)
    clock.now += 10
    assert store.lock("key", "b", 10)
    store.unlock("key", "a")  # too late: it is b's
    assert not store.lock("key", "a", 10)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_lock_lasts_as_long_however_the_clock_is_set(store: ResultStore, clock: Clock, jump: float) -> None:
    assert store.lock("key", "a", 10)
    clock.set_by = jump
    clock.now += 9.9
    assert not store.lock("key", "b", 10)
    clock.now += 0.1
    assert store.lock("key", "b", 10)
    clock.set_by = 0.0
    assert not store.lock("key", "a", 10)


def test_a_lock_can_last_for_ever(store: ResultStore, clock: Clock) -> None:
    assert store.lock("key", "a", float("inf"))
    clock.now += 1e9
    assert not store.lock("key", "b", 10)


def test_a_lock_says_nothing_of_the_value(store: ResultStore) -> None:
    store.lock("key", "a", 10)
    assert not store.exists("key")
    store.write("key", 1)
    store.delete("key")
    assert not store.lock("key", "b", 10)


@pytest.mark.sampled(4, "each store's threads race for seconds")
@pytest.mark.parametrize("before", ["free", "lapsed"])
def test_threads_race_for_locks(store: ResultStore, clock: Clock, before: str) -> None:
    keys = [f"key{n}" for n in range(50)]
    if before == "lapsed":
        assert all(store.lock(key, "before", 10) for key in keys)
        clock.now += 10
    won: list[tuple[str, int]] = []
    start = threading.Barrier(4)

    def race(me: int) -> None:
        start.wait()
        won.extend((key, me) for key in keys if store.lock(key, f"owner{me}", 100))

    threads = [threading.Thread(target=race, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for key, _ in won) == sorted(keys)
    for key, me in won:
        store.unlock(key, f"owner{me}")
        assert store.lock(key, "after", 10)


def test_a_pickled_copy_sees_the_same_values(store: ResultStore) -> None:
    store.write("key", 1)
    copy: ResultStore = pickle.loads(pickle.dumps(store))
    stored = copy.read("key")
    assert stored is not None
    assert stored.value == 1
    copy.write("more", 2)
    assert store.exists("more")
    assert copy.lock("key", "a", 10)
    assert not store.lock("key", "b", 10)
