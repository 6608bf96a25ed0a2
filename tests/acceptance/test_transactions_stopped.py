"""Ends of transactions that do not go as meant: hooks that fail, a stop, a store that is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import StoreError
from anabranch.results.disk import DiskStore
from anabranch.transactions import Transaction, transaction
from tests.acceptance.test_transactions import double, parts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.test_transactions import Heard


@pytest.fixture
def heard() -> Heard:
    return []


@pytest.mark.parametrize("way", ["called", "submitted", "inside"])
def test_a_rollback_hook_that_fails_commits_nothing(threads: str, heard: Heard, way: str) -> None:
    tasks = parts(heard)
    with transaction() as txn:
        tasks["write"](1)
        if way == "inside":
            inner = transaction()
            inner.on_rollback_hooks.append(lambda txn: 1 / 0)
            with pytest.raises(KeyError), inner:
                raise KeyError
        else:
            txn.on_rollback_hooks.append(lambda txn: 1 / 0)
        if way == "called":
            assert tasks["fail"](return_state=True).is_failed()
        elif way == "submitted":
            tasks["fail"].submit().wait()
    assert not txn.is_committed()
    assert txn.commit() is False
    assert heard == [("undo", 1)]


def test_a_stop_during_a_commit_hook_rolls_back(threads: str, heard: Heard, tmp_path: Path) -> None:
    def stop(txn: Transaction) -> None:
        raise KeyboardInterrupt

    store = DiskStore(tmp_path)
    txn = transaction("k", store, isolation_level="SERIALIZABLE")
    txn.on_rollback_hooks.append(lambda txn: heard.append(("undo", "all")))
    txn.on_commit_hooks.append(stop)
    with pytest.raises(KeyboardInterrupt), txn:
        txn.stage(1)
    assert (txn.is_rolled_back(), heard, store.read("k")) == (True, [("undo", "all")], None)
    assert store.lock("k", "another block", 1.0)


def test_a_stop_while_the_block_waits_for_its_members_rolls_back(threads: str, heard: Heard) -> None:
    class Stopped:
        def wait(self) -> None:
            raise KeyboardInterrupt

    txn = transaction()
    txn.submitted(double, Stopped())
    with pytest.raises(KeyboardInterrupt), txn:
        parts(heard)["write"](1)
    assert txn.is_rolled_back()
    assert heard == [("undo", 1)]


def test_a_store_that_cannot_be_asked_leaves_no_lock(tmp_path: Path) -> None:
    class Down(DiskStore):
        def exists(self, key: str) -> bool:
            raise StoreError("the store is down")

    with pytest.raises(StoreError), transaction("k", Down(tmp_path), isolation_level="SERIALIZABLE"):
        raise AssertionError("the block was entered")
    assert DiskStore(tmp_path).lock("k", "another block", 1.0)
