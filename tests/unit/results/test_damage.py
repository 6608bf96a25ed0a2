"""Files of the disk store that are not what was written: never a wrong value, never a crash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import StoreError
from anabranch.results.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def files(store: DiskStore) -> list[Path]:
    return sorted(path for path in Path(store.folder).rglob("*") if path.is_file())


def damages() -> Iterator[Any]:
    yield pytest.param(lambda data: b"", id="empty")
    yield pytest.param(lambda data: data[:10], id="prefix-cut")
    yield pytest.param(lambda data: data[:-1], id="cut")
    yield pytest.param(lambda data: data + b"x", id="longer")
    yield pytest.param(lambda data: b"\x00" * len(data), id="zeros")
    yield pytest.param(lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], id="bit-in-value")
    yield pytest.param(lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], id="bit-in-header")
    yield pytest.param(lambda data: data[:8] + b"\xff\xff\xff\xff" + data[12:], id="header-size")
    yield pytest.param(lambda data: b"ANABRv9\n" + data[8:], id="other-version")


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_file_is_a_miss(store: DiskStore, damage: Any) -> None:
    store.write("key", list(range(100)))
    path = files(store)[0]
    path.write_bytes(damage(path.read_bytes()))
    assert store.read("key") is None
    store.write("key", "new")
    stored = store.read("key")
    assert stored is not None
    assert stored.value == "new"


def test_another_keys_file_is_a_miss(store: DiskStore) -> None:
    store.write("a", 1)
    first = files(store)[0]
    data = first.read_bytes()
    store.write("b", 2)
    (second,) = set(files(store)) - {first}
    second.write_bytes(data)
    assert store.read("b") is None
    assert not store.exists("b")


def test_a_value_that_cannot_be_rebuilt_names_its_file(store: DiskStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.modules[__name__], "Gone", type("Gone", (), {"__module__": __name__}), raising=False)
    store.write("key", sys.modules[__name__].Gone())
    monkeypatch.delattr(sys.modules[__name__], "Gone")
    with pytest.raises(StoreError, match=f"{files(store)[0]}: cannot rebuild the value .*Gone"):
        store.read("key")
