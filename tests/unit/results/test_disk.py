"""The disk store against death, damage, full disks and other processes."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import StoreError
from anabranch.results import locks
from anabranch.results.disk import DiskStore, Usage
from anabranch.results.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clock import Clock

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> DiskStore:
    return DiskStore(tmp_path / "store", clock=clock)


def files(store: DiskStore) -> list[Path]:
    return sorted(path for path in Path(store.folder).rglob("*") if path.is_file())


def only_file(store: DiskStore) -> Path:
    (found,) = files(store)
    return found


def value_of(store: DiskStore, key: str) -> Any:
    stored = store.read(key)
    return None if stored is None else stored.value


class Child:
    """A Python process that works on the store and talks in lines."""

    def __init__(self, code: str, *args: str) -> None:
        head = "import sys\nfrom anabranch.results.disk import DiskStore\nstore = DiskStore(sys.argv[1])\n"
        head += "def say(*words): print(*words, flush=True)\ndef hear(): return sys.stdin.readline()\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", head + code, *args],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def hear(self) -> str:
        pipe: IO[str] | None = self.process.stdout
        assert pipe is not None
        return pipe.readline().strip()

    def say(self, line: str = "") -> None:
        pipe: IO[str] | None = self.process.stdin
        assert pipe is not None
        pipe.write(line + "\n")
        pipe.flush()

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()


# -- death -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_kill_in_mid_write_leaves_the_old_value(store: DiskStore, moment: str) -> None:
    store.write("key", "old")
    code = f"import os\nos.{moment} = lambda *args: (say('writing'), hear())\nstore.write('key', 'x' * 5_000_000)"
    with Child(code, store.folder) as child:
        assert child.hear() == "writing"
        assert len(files(store)) == 2
        assert store.clean() == Usage(0, 0)
        assert len(files(store)) == 2  # its writer lives
        child.kill()
    assert value_of(store, "key") == "old"
    assert store.usage().entries == 1
    assert store.clean() == Usage(0, 0)
    assert len(files(store)) == 1
    assert value_of(store, "key") == "old"
    store.write("key", "new")
    assert value_of(store, "key") == "new"


def test_a_dead_owners_lock_is_taken_over(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    with Child("say(store.lock('key', 'child', 1e6))\nhear()", store.folder) as child:
        assert child.hear() == "True"
        assert not store.lock("key", "me", 10)
        child.kill()
        assert store.lock("key", "me", 10)
    assert not store.lock("key", "another", 10)


def test_a_process_that_is_dead_but_not_yet_reaped_is_dead(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    with Child("say(store.lock('key', 'child', 1e6))\nhear()", store.folder) as child:
        assert child.hear() == "True"
        child.process.kill()
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        assert store.lock("key", "me", 10)


def test_a_reused_process_id_is_another_process() -> None:
    me = locks.this_process()
    assert not locks.is_dead(me)
    assert locks.is_dead(me._replace(start=me.start + 1))
    assert not locks.is_dead(me._replace(start=me.start + 1, host="elsewhere"))


RACE = """
say("ready")
hear()
say(*[n for n in range(200) if store.lock(f"key{n}", sys.argv[2], 1e6)])
hear()
"""


@pytest.mark.parametrize("before", ["free", "dead"])
def test_processes_race_for_locks(tmp_path: Path, before: str) -> None:
    """Exactly one wins each, whether the locks are free or all to be taken over from a dead owner."""
    store = DiskStore(tmp_path / "store")
    if before == "dead":
        with Child("[store.lock(f'key{n}', 'dead', 1e6) for n in range(200)]\nsay('done')", store.folder) as child:
            assert child.hear() == "done"
    with ExitStack() as stack:
        children = [stack.enter_context(Child(RACE, store.folder, f"racer{n}")) for n in range(3)]
        assert {child.hear() for child in children} == {"ready"}
        for child in children:
            child.say()
        won = [int(word) for child in children for word in child.hear().split()]
        assert sorted(won) == list(range(200))


def test_unlocking_leaves_nothing(store: DiskStore) -> None:
    store.lock("key", "me", 10)
    store.lock("key", "me", 20)
    store.unlock("key", "me")
    assert [path for path in Path(store.folder).rglob("*") if path.parent != Path(store.folder)] == []


def test_a_late_taker_finds_a_new_owner(store: DiskStore, clock: Clock, monkeypatch: Any) -> None:
    """Who saw a lapsed lock, but moves only after another took it over, does not get it."""
    assert store.lock("key", "old", 10)
    clock.now += 10
    seen = locks.held_by
    rest: list[Any] = []

    def slow(path: str) -> Any:
        holder = seen(path)
        if not rest:  # between our look and our move
            rest.append(holder)
            assert store.lock("key", "quick", 10)
        return holder

    monkeypatch.setattr(locks, "held_by", slow)
    assert not store.lock("key", "slow", 10)


# -- disks that refuse -----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_value_only(store: DiskStore, call: str, monkeypatch: Any) -> None:
    store.write("key", "old")
    path = only_file(store)

    def full(*args: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StoreError, match=f"cannot write {path}: No space left on device; free some space"):
            store.write("key", "new")
    assert files(store) == [path]
    assert value_of(store, "key") == "old"


def test_a_write_cut_short_by_the_system_leaves_nothing(store: DiskStore) -> None:
    """A real refusal in the middle of a write: the process may make no file larger than 1 MB."""
    code = f"""
import resource
from anabranch.core.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, {resource.RLIM_INFINITY}))
try: store.write("key", b"x" * 3_000_000)
except StoreError as error: say(error)
"""
    with Child(code, store.folder) as child:
        assert child.hear().endswith("File too large")
    assert files(store) == []


def test_errors_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = DiskStore(tmp_path / "file")
    assert store.read("key") is None
    assert not store.exists("key")
    store.delete("key")
    acts: list[Callable[[], Any]] = [lambda: store.write("key", 1), lambda: store.lock("key", "me", 1), store.usage]
    for act in acts:
        with pytest.raises(StoreError, match=str(tmp_path / "file")):
            act()
    other = DiskStore(tmp_path / "other")
    other.write("key", 1)
    path = only_file(other)
    path.unlink()
    path.mkdir()
    acts = [lambda: other.write("key", 1), lambda: other.read("key"), lambda: other.delete("key")]
    for act in acts:
        with pytest.raises(StoreError, match=str(path)):
            act()


# -- files -----------------------------------------------------------------------------------------


def test_only_the_user_may_read(store: DiskStore) -> None:
    before = os.umask(0)
    try:
        store.write("key", 1)
        store.lock("key", "me", 10)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [Path(store.folder), *Path(store.folder).rglob("*")]}
    assert len(modes) == 5
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_nothing_leaves_the_folder(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "deep" / "er" / "store")
    for key in ("../../x", "/tmp/x", "..", ".", "~", "a/../../../b"):
        store.write(key, 1)
        store.lock(key, "me/../../..", 10)
    assert {path.name for path in tmp_path.rglob("*") if path.parent == tmp_path} == {"deep"}
    for path in files(store):
        assert path.parent.parent == Path(store.folder) or path.parent.parent.parent == Path(store.folder)


def test_nothing_is_made_before_the_first_write(store: DiskStore) -> None:
    assert (store.read("key"), store.exists("key"), store.usage(), store.clean()) == (None, False, (0, 0), (0, 0))
    assert not Path(store.folder).exists()


def test_a_copy_finds_the_folder_from_elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    store = DiskStore("here", "json")
    monkeypatch.chdir("/")
    store.write("key", [1])
    copy = pickle.loads(pickle.dumps(store))
    assert repr(copy) == f"DiskStore({str(tmp_path / 'here')!r}, serializer='json')"
    assert value_of(copy, "key") == [1]


def test_values_of_other_serializers_stay_readable(store: DiskStore, clock: Clock) -> None:
    for name in ("json", "compressed/pickle", "compressed/json"):
        DiskStore(store.folder, name, clock=clock).write(name, ["x"] * 1000)
        assert value_of(store, name) == ["x"] * 1000
    sizes = {path.stat().st_size for path in files(store)}
    assert min(sizes) < 200 < 4000 < max(sizes)


def test_values_of_main_travel_by_value(store: DiskStore) -> None:
    code = """
class Mine:
    def __init__(self, x): self.x = x
    def twice(self): return 2 * self.x
store.write("object", [Mine(4)])
store.write("function", lambda x: x + 1)
say("done")
"""
    with Child(code, store.folder) as child:
        assert child.hear() == "done"
    assert value_of(store, "object")[0].twice() == 8
    assert value_of(store, "function")(1) == 2


# -- housekeeping ----------------------------------------------------------------------------------


def test_usage_and_clean(store: DiskStore, clock: Clock) -> None:
    sizes = [store.write("old", "x" * 100), store.write("short", 1, expires=clock.now + 10)]
    clock.now += 100
    sizes.append(store.write("new", 1))
    assert store.usage() == Usage(sum(sizes), 3)
    assert store.clean(expired=False) == Usage(0, 0)
    assert store.clean() == Usage(sizes[1], 1)
    assert store.clean(older_than=100) == Usage(0, 0)
    assert store.clean(older_than=99) == Usage(sizes[0], 1)
    assert store.usage() == Usage(sizes[2], 1)
    assert value_of(store, "new") == 1


def test_clean_removes_damaged_files_and_lapsed_locks(store: DiskStore, clock: Clock) -> None:
    store.write("key", 1)
    only_file(store).write_bytes(b"damaged")
    store.lock("lapsed", "me", 10)
    store.lock("held", "me", 100)
    clock.now += 20
    assert store.clean() == Usage(7, 1)
    assert len(files(store)) == 1
    assert not store.lock("held", "another", 10)


def test_clean_spares_a_value_written_meanwhile(store: DiskStore, clock: Clock, monkeypatch: Any) -> None:
    store.write("key", "old", expires=clock.now)
    rename = os.rename

    def late(old: str, new: str) -> None:
        monkeypatch.setattr(os, "rename", rename)
        store.write("key", "new")
        rename(old, new)

    monkeypatch.setattr(os, "rename", late)
    assert store.clean() == Usage(0, 0)
    assert value_of(store, "key") == "new"
    assert len(files(store)) == 1


def test_a_store_in_memory_stays_in_its_process(tmp_path: Path) -> None:
    path = tmp_path / "pickled"
    path.write_bytes(pickle.dumps(MemoryStore()))
    code = f"import pickle\ntry: pickle.loads(open({str(path)!r}, 'rb').read())\nexcept Exception as error: say(error)"
    with Child(code, "unused") as child:
        assert child.hear().startswith("a store in memory does not leave its process")
