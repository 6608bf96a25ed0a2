"""The remote store against damage, broken uploads, dead owners, missing packages and prying eyes."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import secrets
from anabranch.core.errors import ConfigurationError, MissingExtraError, StoreError
from anabranch.results import format, leases, remote_files
from anabranch.results.disk import DiskStore
from anabranch.results.remote import RemoteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clock import Clock

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["memory", "local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.timeout(180)])])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> RemoteStore:
    s3 = request.param == "s3"
    address = request.getfixturevalue("s3_address") if s3 else f"{request.param}://{tmp_path}/store"
    return RemoteStore(address, clock=clock)


def value_of(store: RemoteStore, key: str) -> Any:
    stored = store.read(key)
    return None if stored is None else stored.value


# -- objects ---------------------------------------------------------------------------------------


def damages() -> Iterator[Any]:
    yield pytest.param(lambda data: b"", id="empty")
    yield pytest.param(lambda data: data[:30], id="head-only")
    yield pytest.param(lambda data: data[:-1], id="cut")
    yield pytest.param(lambda data: data + b"x", id="longer")
    yield pytest.param(lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], id="bit-in-value")
    yield pytest.param(lambda data: b"something else altogether", id="other")


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_object_is_a_miss(store: RemoteStore, damage: Any) -> None:
    store.write("key", list(range(100)))
    name = format.place_of("key") + ".value"
    data = store.files.get(name, 0, 1 << 20)
    store.files.put(name, [damage(data)])
    assert value_of(store, "key") is None
    store.write("key", "new")
    assert value_of(store, "key") == "new"


def test_another_keys_object_is_a_miss(store: RemoteStore) -> None:
    store.write("a", 1)
    data = store.files.get(format.place_of("a") + ".value", 0, 1 << 20)
    assert data is not None
    store.files.put(format.place_of("b") + ".value", [data])
    assert value_of(store, "b") is None
    assert not store.exists("b")


@pytest.mark.parametrize(
    "store", ["memory", "local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.timeout(180)])], indirect=True
)
@pytest.mark.parametrize("size", [0, 1, 3 * remote_files.PIECE - 1, 3 * remote_files.PIECE + 1])
def test_a_value_in_many_pieces(store: RemoteStore, size: int) -> None:
    numpy = pytest.importorskip("numpy")
    value = {"table": numpy.arange(size, dtype="u1"), "text": "x" * 100}
    assert store.write("key", value) > size
    assert store.exists("key")
    found = value_of(store, "key")
    assert (found["table"] == value["table"]).all()
    found["table"][:1] = 7  # a reader's own


def test_an_upload_that_breaks_off_leaves_the_old_value(store: RemoteStore, monkeypatch: Any) -> None:
    store.write("key", "old")

    class Broken:
        """A piece of a value that ends the upload after others have gone."""

        def __len__(self) -> int:
            return 1

    name = format.place_of("key") + ".value"
    with pytest.raises(StoreError, match=f"cannot write {store.files.shown}/{name}: TypeError"):
        store.files.put(name, [bytes(3 * remote_files.PIECE), Broken()])  # type: ignore[list-item]
    assert value_of(store, "key") == "old"
    fs, root = store.files._open()
    assert [path.rpartition("/")[2] for path in fs.find(root)] == [name.rpartition("/")[2]]


def test_the_files_are_those_of_the_store_on_disk(tmp_path: Path, clock: Clock) -> None:
    disk, remote = DiskStore(tmp_path, clock=clock), RemoteStore(f"local://{tmp_path}", clock=clock)
    disk.write("from disk", [1])
    remote.write("from afar", [2], expires=clock.now + 1)
    assert value_of(remote, "from disk") == [1]
    stored = disk.read("from afar")
    assert stored is not None
    assert (stored.value, stored.expires) == ([2], clock.now + 1)


# -- locks -----------------------------------------------------------------------------------------

CHILD = """
import sys
from anabranch.results.remote import RemoteStore
store = RemoteStore(sys.argv[1])
print(*[n for n in range(int(sys.argv[3])) if store.lock(f"key{n}", sys.argv[2], 1e6)], flush=True)
sys.stdin.readline()
"""


def child(store: RemoteStore, owner: str, locks: int) -> subprocess.Popen[str]:
    """A process that takes as many of the locks as it can get, says which, and lives on."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, store.files.address, owner, str(locks)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def won(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return list(map(int, process.stdout.readline().split()))


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.sampled(4, "Pythons for each; by day threads race")
@pytest.mark.parametrize(
    "store", ["local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.timeout(180)])], indirect=True
)
@pytest.mark.parametrize("before", ["free", "dead"])
def test_processes_race_for_locks(store: RemoteStore, before: str) -> None:
    """One wins each, whether the locks are free or all to be taken over from a dead owner."""
    count = 20
    if before == "dead":
        first = child(store, "first", count)
        try:
            assert won(first) == list(range(count))
            assert not store.lock("key0", "me", 10)
        finally:
            ended(first)
    racers = [child(store, f"racer{n}", count) for n in range(3)]
    try:
        assert sorted(n for racer in racers for n in won(racer)) == list(range(count))
    finally:
        for racer in racers:
            ended(racer)


def test_a_late_taker_finds_the_lock_freed_and_taken_anew(store: RemoteStore, clock: Clock, monkeypatch: Any) -> None:
    """Who saw a lapsed lock, but moves only after another took it over, freed it and a third took it, is late."""
    assert store.lock("key", "old", 10)
    clock.now += 10
    look = leases._chain
    rest: list[Any] = []

    def slow(files: Any, name: str) -> Any:
        chain = look(files, name)
        if not rest:  # between our look and our move
            rest.append(chain)
            assert store.lock("key", "quick", 10)
            store.unlock("key", "quick")
            assert store.lock("key", "third", 10)
        return chain

    monkeypatch.setattr(leases, "_chain", slow)
    assert not store.lock("key", "slow", 10)
    assert store.lock("key", "third", 20)


def test_a_lock_whose_answer_was_lost_is_held(store: RemoteStore, monkeypatch: Any) -> None:
    """The request is made again by itself, and told that there is a lock already: one's own."""
    create = remote_files.RemoteFiles.create

    def twice(files: Any, name: str, data: bytes) -> bool:
        return create(files, name, data) and create(files, name, data)

    monkeypatch.setattr(remote_files.RemoteFiles, "create", twice)
    assert store.lock("key", "me", 10)


def test_unlocking_leaves_nothing(store: RemoteStore) -> None:
    for seconds in (10, 20, 30):
        assert store.lock("key", "me", seconds)
    store.unlock("key", "me")
    fs, root = store.files._open()
    assert [path for path in fs.find(root) if ".lock" in path] == []


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.fixture
def no_s3fs_yet(s3_server: dict[str, str]) -> Iterator[None]:
    """fsspec keeps file systems, with what they logged in with, for the next who asks for the same address."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.mark.s3
@pytest.mark.usefixtures("no_s3fs_yet")
def test_wrong_credentials_are_named_and_not_shown(s3_address: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    store = RemoteStore(s3_address)
    for act in (lambda: store.read("key"), lambda: store.write("key", 1), lambda: store.lock("key", "me", 10)):
        with pytest.raises(StoreError, match=f"{s3_address}/.*PermissionError.*credentials") as caught:
            act()
        assert "wrong-and-secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.s3
@pytest.mark.usefixtures("no_s3fs_yet")
def test_a_server_that_does_not_answer_is_named(s3_address: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=f"cannot read {s3_address}/.*127.0.0.1:1"):
        RemoteStore(s3_address).read("key")


@pytest.mark.parametrize(("address", "package"), [("sftp://me:hunter22@host/x", "paramiko"), ("gs://bucket", "gcsfs")])
def test_a_missing_package_is_named(address: str, package: str, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package) as caught:
        RemoteStore(address)
    assert "hunter22" not in str(caught.value)


def test_without_fsspec_the_extra_is_named(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"s3://bucket/x need fsspec: pip install 'anabranch\[remote\]'"):
        RemoteStore("s3://bucket/x")


def test_an_unknown_file_system_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"nonsense://x.*s3"):
        RemoteStore("nonsense://x")


def test_a_login_in_the_address_is_not_shown() -> None:
    with pytest.raises(StoreError, match=r"cannot reach ftp://127\.0\.0\.1:1/x") as caught:
        RemoteStore("ftp://me:hunter22@127.0.0.1:1/x?token=abcdefg")
    assert "hunter22" not in secrets.mask("".join(traceback.format_exception(caught.value)))
    assert "abcdefg" not in str(caught.value)


@pytest.mark.s3
def test_a_copy_has_the_address_and_nothing_else(s3_address: str, s3_server: dict[str, str]) -> None:
    store = RemoteStore(s3_address, "json")
    assert repr(store) == f"RemoteStore({s3_address!r}, serializer='json')"
    store.write("key", [1])  # so that it is connected
    data = pickle.dumps(store)
    assert s3_server["AWS_SECRET_ACCESS_KEY"].encode() not in data
    assert value_of(pickle.loads(data), "key") == [1]
