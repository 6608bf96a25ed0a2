"""How long the locks of stores last: on their own host, seen from another one, from older versions, over restarts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from anabranch.results import format, leases, locks
from anabranch.results.disk import DiskStore, Usage
from anabranch.results.remote import RemoteStore

if TYPE_CHECKING:
    from tests.clock import Clock

LOCK = format.place_of("key") + ".lock"
JUMPS = [3600.0, -3600.0]


@pytest.fixture
def disk(tmp_path: Path, clock: Clock) -> DiskStore:
    return DiskStore(tmp_path / "store", clock=clock)


@pytest.fixture
def remote(tmp_path: Path, clock: Clock) -> RemoteStore:
    return RemoteStore(f"memory://{tmp_path}", clock=clock)


@pytest.fixture(params=["disk", "remote"])
def store(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def lock_file(disk: DiskStore) -> Path:
    (found,) = Path(disk.folder, LOCK).iterdir()
    return found


@pytest.mark.parametrize("jump", JUMPS)
def test_another_hosts_lock_lapses_by_the_wall_clock(
    store: Any, clock: Clock, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ticks count from another moment than ours, so they mean nothing here."""
    with monkeypatch.context() as there:
        there.setattr(locks, "_me", locks.this_process()._replace(start=1, host="elsewhere"))
        clock.now, clock.set_by = clock.now + jump, -jump
        assert store.lock("key", "them", 10)
        clock.now, clock.set_by = clock.now - jump, 0.0
    clock.now += 9.9
    assert not store.lock("key", "me", 10)
    clock.now += 0.1
    assert store.lock("key", "me", 10)


def test_a_lock_from_before_a_restart_has_lapsed(store: Any, clock: Clock) -> None:
    """Its process may seem to live, where nobody tells when a process began; its ticks are ahead of ours."""
    assert store.lock("key", "before", 10)
    clock.now, clock.set_by = 5.0, clock.now
    assert store.lock("key", "me", 10)


@pytest.mark.parametrize("jump", [0.0, *JUMPS])
def test_a_lock_file_of_an_older_version_lapses_by_the_wall_clock(disk: DiskStore, clock: Clock, jump: float) -> None:
    assert disk.lock("key", "old", 10)
    file = lock_file(disk)
    parts = file.name.split(".")
    assert len(parts) == 6, "older versions read no other"
    file.rename(file.with_name(".".join([*parts[:5], "0123456789abcdef"])))
    clock.now, clock.set_by = clock.now + jump, -jump
    clock.now += 9.9
    assert not disk.lock("key", "me", 10)
    clock.now += 0.1
    assert disk.lock("key", "me", 10)


@pytest.mark.parametrize("jump", [0.0, *JUMPS])
def test_a_lock_object_of_an_older_version_lapses_by_the_wall_clock(
    remote: RemoteStore, clock: Clock, jump: float
) -> None:
    assert remote.lock("key", "old", 10)
    data = remote.files.get(LOCK, 0, 4096)
    assert data is not None
    owner, process, deadline, _ = msgpack.unpackb(data)  # older versions read no other number of fields
    remote.files.put(LOCK, [msgpack.packb([owner, process, deadline, "0123456789abcdef"])])
    clock.now, clock.set_by = clock.now + jump, -jump
    clock.now += 9.9
    assert not remote.lock("key", "me", 10)
    clock.now += 0.1
    assert remote.lock("key", "me", 10)


@pytest.mark.parametrize(("kind", "module", "look"), [("disk", locks, "held_by"), ("remote", leases, "_chain")])
def test_a_lock_taken_while_another_one_asks_is_held(
    kind: str, module: Any, look: str, clock: Clock, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins after the other one began to ask: that is no lock from before a restart."""
    store = request.getfixturevalue(kind)
    assert store.lock("key", "old", 10)
    clock.now += 10
    real = getattr(module, look)

    def late(*args: Any) -> Any:
        monkeypatch.setattr(module, look, real)
        clock.now += 1
        assert store.lock("key", "quick", 10)
        return real(*args)

    monkeypatch.setattr(module, look, late)
    assert not store.lock("key", "slow", 10)
    assert store.lock("key", "quick", 10)


@pytest.mark.parametrize("jump", JUMPS)
def test_clean_leaves_a_lock_that_is_held(disk: DiskStore, clock: Clock, jump: float) -> None:
    disk.lock("key", "me", 10)
    clock.set_by = jump
    clock.now += 9.9
    assert disk.clean() == Usage(0, 0)
    assert not disk.lock("key", "another", 10)
    clock.now += 0.1
    disk.clean()
    assert not Path(disk.folder, LOCK).exists()
