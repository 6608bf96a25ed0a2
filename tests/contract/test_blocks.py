"""What every place for blocks promises, over disk and remote addresses alike."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import SerializationError, StoreError
from anabranch.results.blocks import FIRST, Blocks
from anabranch.results.disk import DiskStore
from anabranch.results.remote import RemoteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clock import Clock


@pytest.fixture(
    params=[
        "disk",
        "disk-json",
        "memory",
        "renaming",
        pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.timeout(180)]),
    ]
)
def blocks(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Blocks:
    match request.param:
        case "disk":
            return DiskStore(tmp_path / "store", clock=clock).blocks
        case "disk-json":
            return DiskStore(tmp_path / "store", "json", clock=clock).blocks
        case "memory":
            return RemoteStore(f"memory://{tmp_path}", clock=clock).blocks
        case "renaming":
            return RemoteStore(f"local://{tmp_path}/store", clock=clock).blocks
        case _:
            return RemoteStore(request.getfixturevalue("s3_address"), clock=clock).blocks


@pytest.fixture
def asked(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The ranges that are read."""
    ranges: list[tuple[int, int]] = []
    get = type(blocks.files).get

    def noted(files: Any, name: str, start: int, end: int) -> bytes | None:
        ranges.append((start, end))
        return get(files, name, start, end)

    monkeypatch.setattr(type(blocks.files), "get", noted)
    return ranges


def value_of(blocks: Blocks, name: str, slot: int) -> Any:
    stored = blocks.read(name, [slot])[0]
    assert stored is not None
    return stored.value


def test_reads_what_was_written(blocks: Blocks, clock: Clock) -> None:
    values = [None, 1, "text", [1, 2.5], {"a": [True]}, "x" * 100_000]
    name, failed = blocks.write("map", range(10, 16), values)
    assert failed == {}
    assert [value_of(blocks, name, slot) for slot in reversed(range(6))] == values[::-1]
    assert blocks.items(name) == [10, 11, 12, 13, 14, 15]
    stored = blocks.read(name, [0])[0]
    assert stored is not None
    assert (stored.created, stored.expires) == (clock.now, None)


def test_nothing_there(blocks: Blocks) -> None:
    assert blocks.read("blocks/map/none", [0])[0] is None
    assert blocks.items("blocks/map/none") == []
    name, _ = blocks.write("map", [7], [1])
    assert blocks.read(name, [1])[0] is None


def test_blocks_of_the_same_items_are_two(blocks: Blocks) -> None:
    first, second = (blocks.write("map", [3, 5], values).name for values in ([1, 2], [3, 4]))
    assert first != second
    assert [value_of(blocks, name, slot) for name in (first, second) for slot in (0, 1)] == [1, 2, 3, 4]


def test_one_value_costs_its_own_range(blocks: Blocks, asked: list[tuple[int, int]]) -> None:
    values = [f"{n}" * 10_000 for n in range(5_000, 5_100)]
    name, _ = blocks.write("map", range(100), values)
    assert value_of(blocks, name, 70) == values[70]
    assert value_of(blocks, name, 71) == values[71]
    first, *rest = asked
    assert first == (0, FIRST)
    assert len(rest) == 2
    assert all(40_000 <= end - start < 40_100 for start, end in rest)


def test_a_small_block_costs_one_request(blocks: Blocks, asked: list[tuple[int, int]]) -> None:
    name, _ = blocks.write("map", range(500), list(range(500)))
    assert [value_of(blocks, name, slot) for slot in range(500)] == list(range(500))
    assert len(asked) == 1


def test_a_header_longer_than_the_first_request(blocks: Blocks) -> None:
    name, _ = blocks.write("map", range(20_000), list(range(20_000)))
    assert [value_of(blocks, name, slot) for slot in (0, 1, 19_999)] == [0, 1, 19_999]
    assert blocks.items(name) == list(range(20_000))


def test_a_value_that_cannot_be_saved_costs_the_others_nothing(blocks: Blocks) -> None:
    name, failed = blocks.write("map", [1, 2, 3, 4], ["a", threading.Lock(), "b", [threading.Lock()]])
    assert list(failed) == [1, 3]
    assert all(isinstance(error, SerializationError) for error in failed.values())
    assert [value_of(blocks, name, slot) for slot in (0, 2)] == ["a", "b"]
    assert blocks.read(name, [1, 3]) == [None, None]
    assert blocks.write("map", [1], [threading.Lock()]).name == ""


def test_arrays_lie_apart_and_can_be_written_to(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    blocks = DiskStore(tmp_path).blocks
    values = [numpy.full(n, n, dtype="f8") for n in (0, 10, 1_000, 100_000, 3)]
    name, _ = blocks.write("map", range(5), [values[0], *values[1:]])
    for slot in (4, 3, 2, 1, 0):
        found = value_of(blocks, name, slot)
        assert (found == values[slot]).all()
        found[:] = 0
    assert (value_of(blocks, name, 3) == values[3]).all()


def damages() -> Iterator[Any]:
    yield pytest.param(lambda data: b"", id="empty")
    yield pytest.param(lambda data: data[:40], id="cut-in-header")
    yield pytest.param(lambda data: data[:-1], id="cut")
    yield pytest.param(lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], id="bit-in-header")
    yield pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="bit-in-value")
    yield pytest.param(lambda data: b"ANABRb9\n" + data[8:], id="other-version")


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_value_is_none(blocks: Blocks, damage: Any) -> None:
    name, _ = blocks.write("map", [1, 2], ["first", "last"])
    data = blocks.files.get(name, 0, 1 << 20)
    blocks.files.put(name, [damage(data)])
    assert blocks.read(name, [1])[0] is None


def test_a_copy_reads_the_same(blocks: Blocks) -> None:
    name, _ = blocks.write("map", [1], ["a"])
    assert value_of(pickle.loads(pickle.dumps(blocks)), name, 0) == "a"


def test_a_value_that_cannot_be_rebuilt_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "Gone", type("Gone", (), {"__module__": __name__}))
    blocks = DiskStore(tmp_path).blocks
    name, _ = blocks.write("map", [1, 2], [0, globals()["Gone"]()])
    monkeypatch.delitem(globals(), "Gone")
    assert value_of(blocks, name, 0) == 0
    with pytest.raises(StoreError, match=f"{tmp_path}/{name}, value 1: cannot rebuild the value .*Gone"):
        blocks.read(name, [1])


def test_a_store_on_disk_counts_its_blocks_and_cleans_them(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    name, _ = store.blocks.write("map", range(100), list(range(100)))
    assert store.usage() == ((tmp_path / name).stat().st_size, 1)
    assert store.clean(older_than=100) == (0, 0)
    assert store.blocks.read(name, [99])[0] is not None
    assert store.clean(older_than=-100).entries == 1
    assert store.usage() == (0, 0)


def test_a_place_is_dropped_with_all_in_it(blocks: Blocks) -> None:
    gone = [blocks.write(place, [0], [place]).name for place in ("one", "one/inputs", "two")]
    stays = blocks.write("three", [0, 1], ["a", "b"]).name
    blocks.drop(["one", "two", "never"])
    assert [stored and stored.value for stored in blocks.read(stays, [1, 0, 9])] == ["b", "a", None]
    assert [blocks.read(name, [0]) for name in gone] == [[None]] * 3


def test_small_values_lie_in_one_list(blocks: Blocks) -> None:
    values = [None, 1, 2.5, True, "x" * 256, b"", -(1 << 70)] if blocks.serializer.name == "pickle" else [None, 1, 2.5]
    written = blocks.write("map", range(10, 10 + len(values)), values, without={1})
    assert written.failed == {}
    stored = blocks.read(written.name, range(len(values) + 1))
    assert [one.value for one in stored if one] == [value for slot, value in enumerate(values) if slot != 1]
    assert [slot for slot, one in enumerate(stored) if one is None] == [1, len(values)]
    assert blocks.items(written.name) == list(range(10, 10 + len(values)))


def test_a_damaged_list_is_no_value(tmp_path: Path) -> None:
    blocks = DiskStore(tmp_path / "store").blocks
    name = blocks.write("map", range(3), ["a", "b", "c"]).name
    path = tmp_path / "store" / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    assert DiskStore(tmp_path / "store").blocks.read(name, [0, 1, 2]) == [None] * 3
