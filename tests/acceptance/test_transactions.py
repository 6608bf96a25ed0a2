"""Transactions: task runs that are committed together, or undone by their hooks, wherever they ran."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, session, task
from anabranch.results.disk import DiskStore
from anabranch.transactions import CommitMode, IsolationLevel, Transaction, get_transaction, transaction

if TYPE_CHECKING:
    from pathlib import Path

Heard = list[tuple[str, Any]]


def parts(heard: Heard) -> dict[str, Any]:
    """Tasks whose hooks note what they hear."""

    @task
    def write(x: Any) -> Any:
        here = get_transaction()
        if here is not None:  # submitted runs have none
            here.set("x", x)
        return x

    @write.on_rollback
    def undo(txn: Transaction) -> None:
        heard.append(("undo", txn.get("x", None)))

    @write.on_commit
    async def keep(txn: Transaction) -> None:
        heard.append(("keep", txn.get("x", None)))

    @task
    def fail() -> None:
        raise ValueError("failed")

    return {"write": write, "fail": fail}


@pytest.fixture
def heard() -> Heard:
    return []


def rolled_back_runs(name: str) -> int:
    now = session.current()
    now.flush_records()
    [row] = [row for row in now.records.flow_runs(limit=50) if row.name == name]
    maps = [one.id for one in now.records.maps(row.id)]
    return sum(
        change.state_name == "RolledBack" for one in maps for index in range(9)
        for change in now.records.transitions(one, index)
    )  # fmt: skip


# -- plain calls ---------------------------------------------------------------------------------------


def test_runs_are_committed_together_in_their_order(threads: str, heard: Heard) -> None:
    write = parts(heard)["write"]

    @flow
    def main() -> bool:
        with transaction() as txn:
            write(1)
            write(2)
            assert heard == []
        return txn.is_committed()

    assert main() is True
    assert heard == [("keep", 1), ("keep", 2)]


def test_an_exception_undoes_them_the_last_first(threads: str, heard: Heard) -> None:
    tasks = parts(heard)

    @flow(flow_run_name="undone by an exception")
    def main() -> None:
        with transaction():
            tasks["write"](1)
            tasks["write"](2)
            tasks["fail"]()

    assert main(return_state=True).is_failed()
    assert heard == [("undo", 2), ("undo", 1)]
    assert rolled_back_runs("undone by an exception") == 2


@pytest.mark.parametrize("way", ["caught", "state", "submitted"])
def test_a_run_that_fails_undoes_them_whoever_heard_of_it(threads: str, heard: Heard, way: str) -> None:
    tasks = parts(heard)

    @flow
    def main() -> Any:
        with transaction() as txn:
            tasks["write"](1)
            if way == "caught":
                with pytest.raises(ValueError, match="failed"):
                    tasks["fail"]()
            elif way == "state":
                assert tasks["fail"](return_state=True).is_failed()
            else:
                assert isinstance(tasks["fail"].submit().exception(), ValueError)
            tasks["write"](2)
        return txn.state.value

    assert main() == "ROLLED_BACK"
    assert sorted(heard) == [("undo", 1), ("undo", 2)]


def test_attempts_that_failed_undo_nothing(threads: str, heard: Heard) -> None:
    tries: list[int] = []

    @task(retries=2)
    def at_last() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")

    @flow
    def main() -> bool:
        with transaction() as txn:
            parts(heard)["write"](1)
            at_last()
        return txn.is_committed()

    assert main() is True
    assert heard == [("keep", 1)]


def test_a_run_that_failed_is_not_undone_itself(threads: str, heard: Heard) -> None:
    @task(on_rollback=[lambda txn: heard.append(("undo", "the run that failed"))])
    def fail() -> None:
        parts(heard)["write"](1)
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"), transaction() as txn:
        fail()
    assert txn.is_rolled_back()
    assert heard == [("undo", 1)]


def test_async_tasks_and_flows(threads: str, heard: Heard) -> None:
    write = parts(heard)["write"]

    @task
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @later.on_rollback
    async def undo(txn: Transaction) -> None:
        await asyncio.sleep(0)
        heard.append(("undo later", txn.get("around")))

    @flow
    async def main() -> None:
        async with transaction() as txn:
            txn.set("around", "all")
            assert await later(1) == 1
            write.submit(2)
            raise ValueError("over")

    state = asyncio.run(main(return_state=True))
    assert str(state.exception()) == "over"
    assert heard == [("undo", None), ("undo later", "all")]


# -- submitted runs and maps ---------------------------------------------------------------------------


@task
def double(x: int) -> int:
    if x < 0:
        raise ValueError(x)
    return 2 * x


def test_runs_of_every_runner_are_members(runner: str, heard: Heard) -> None:
    counted: list[str] = []
    named = double.with_options(
        on_rollback=[lambda txn: counted.append("undo")], on_commit=[lambda txn: counted.append("keep")]
    )

    @flow(flow_run_name=f"members on {runner}")
    def main(xs: list[int]) -> str:
        with transaction() as txn:
            named.map(xs)
            named.submit(1)
        return str(txn.state)

    assert (main([1, 2, 3]), counted) == ("COMMITTED", ["keep"] * 4)
    counted.clear()
    main.with_options(flow_run_name=f"undone on {runner}")([1, -1, 3], return_state=True)
    assert counted == ["undo"] * 3
    assert (rolled_back_runs(f"members on {runner}"), rolled_back_runs(f"undone on {runner}")) == (0, 3)


# -- blocks inside of blocks ---------------------------------------------------------------------------


def test_inner_blocks_wait_for_the_outer_one(threads: str, heard: Heard) -> None:
    write = parts(heard)["write"]
    with transaction() as outer:
        with transaction() as inner:
            write(1)
        assert (inner.parent, inner.is_committed(), heard) == (outer, False, [])
        with transaction(commit_mode="EAGER") as eager:
            write(2)
        assert eager.is_committed()
        assert heard == [("keep", 2)]
    assert (inner.is_committed(), outer.is_committed(), heard) == (True, True, [("keep", 2), ("keep", 1)])


def test_an_inner_block_that_is_rolled_back_takes_the_outer_one_along(threads: str, heard: Heard) -> None:
    write = parts(heard)["write"]
    with transaction() as outer:
        write(1)
        inner = transaction()
        inner.on_commit_hooks.append(lambda txn: 1 / 0)
        inner.commit_mode = CommitMode.EAGER
        with inner:
            pass
        write(2)
    assert outer.is_rolled_back()
    assert heard == [("undo", 1), ("undo", 2)]


def test_modes(threads: str, heard: Heard) -> None:
    write = parts(heard)["write"]
    with transaction(commit_mode=CommitMode.OFF) as off:
        write(1)
    with transaction(commit_mode="OFF") as own:
        write(2)
        assert own.commit() is True
        assert own.commit() is False
    assert (off.is_rolled_back(), own.is_committed()) == (True, True)
    assert heard == [("undo", 1), ("keep", 2)]


def test_values_are_seen_from_inside_and_copied() -> None:
    with transaction() as outer:
        outer.set("a", [1])
        outer.get("a").append(2)
        with transaction() as inner:
            assert inner.get("a") == [1]
            inner.set("a", 2)
        assert (outer.get("a"), outer.get("b", 3)) == ([1], 3)
        with pytest.raises(ValueError, match="Could not retrieve value for unknown key: b"):
            outer.get("b")
    assert get_transaction() is None


# -- hooks that fail -----------------------------------------------------------------------------------


def test_a_commit_hook_that_fails_rolls_back_what_is_not_committed_yet(
    threads: str, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    write = parts(heard)["write"]
    breaks = write.with_options(on_commit=[lambda txn: 1 / 0])
    with transaction() as txn:
        write(1)
        breaks(2)
        txn.on_rollback_hooks.append(lambda txn: heard.append(("undo", "all")))
        txn.on_commit_hooks.append(lambda txn: 1 / 0)
    assert txn.is_rolled_back()
    assert heard == [("keep", 1), ("undo", 2), ("undo", "all")]
    assert "could not be committed" in caplog.text


def test_a_rollback_hook_that_fails_is_told(threads: str, caplog: pytest.LogCaptureFixture) -> None:
    txn = transaction()
    txn.on_rollback_hooks.append(lambda txn: 1 / 0)
    with pytest.raises(KeyError), txn:
        raise KeyError
    assert "could not be rolled back wholly" in caplog.text


# -- keys ----------------------------------------------------------------------------------------------


def test_a_key_makes_it_once(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)

    def once(value: int, **more: Any) -> tuple[bool, Any]:
        with transaction("k", store, **more) as txn:
            was = txn.is_committed()
            if not was:
                txn.stage(value)
        return was, txn.read()

    assert once(1) == (False, 1)
    assert once(2) == (True, 1)
    assert once(3, overwrite=True) == (False, 3)
    assert once(4, overwrite=True, write_on_commit=False) == (False, 3)
    other = transaction("other", store)
    with pytest.raises(KeyError), other:
        raise KeyError
    assert store.read("other") is None


def test_the_programs_own_store_is_the_default(threads: str) -> None:
    with transaction("a key of the program's store") as txn:
        txn.stage("kept")
    assert session.current().store.read("a key of the program's store").value == "kept"  # type: ignore[union-attr]


def test_a_value_that_cannot_be_stored_rolls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with transaction("k", DiskStore(tmp_path)) as txn:
        txn.stage(threading.Lock())
    assert txn.is_rolled_back()
    assert "could not be committed" in caplog.text


def test_one_block_at_a_time_has_a_key(tmp_path: Path) -> None:
    inside, go, order = threading.Event(), threading.Event(), []

    def first() -> None:
        with transaction("k", DiskStore(tmp_path), isolation_level="SERIALIZABLE") as txn:
            inside.set()
            go.wait(30)
            order.append("first")
            txn.stage(1)

    def second() -> None:
        with transaction("k", DiskStore(tmp_path), isolation_level=IsolationLevel.SERIALIZABLE) as txn:
            order.append(f"second, committed: {txn.is_committed()}")

    one, two = threading.Thread(target=first), threading.Thread(target=second)
    one.start()
    assert inside.wait(30)
    two.start()
    assert not DiskStore(tmp_path).lock("k", "a third", 1.0)
    go.set()
    one.join(30)
    two.join(30)
    assert order == ["first", "second, committed: True"]
    assert DiskStore(tmp_path).lock("k", "a third", 1.0)


def test_a_lock_that_was_lost_rolls_back(tmp_path: Path) -> None:
    with transaction("k", DiskStore(tmp_path), isolation_level="SERIALIZABLE") as txn:
        txn.stage(1)
        assert txn.lease is not None
        txn.lease.is_lost = True
    assert txn.is_rolled_back()
    assert DiskStore(tmp_path).read("k") is None


# -- bad use -------------------------------------------------------------------------------------------


def test_it_is_entered_once() -> None:
    with transaction() as txn:
        pass
    with pytest.raises(RuntimeError, match="entered once"), txn:
        pass
    with pytest.raises(ValueError, match="SOMETIMES"):
        transaction(commit_mode="SOMETIMES")
