"""Shares of wall x workers: they add up to all of it, and each second has one name."""

from __future__ import annotations

from array import array

import pytest

from anabranch.core.runs import ItemBlock, MapRow
from anabranch.core.spent import Spent
from anabranch.display.shares import shares_of


def block(worker: str, begin: float, seconds: float, **spent: float) -> ItemBlock:
    """A chunk's block: one item of so many seconds."""
    told = Spent(**{name: int(value * 1e6) for name, value in spent.items()})
    return ItemBlock(
        "m", 0, 1, None, begin, array("q", [0]), array("q", [int(seconds * 1e6)]), 1, worker, told
    )  # fmt: skip


def parts(*blocks: ItemBlock, slots: int = 2, recording: float = 0.0, kind: str = "map") -> dict[str, float]:
    row = MapRow("m", "r", "t", kind, 1, 0.0, slots=slots, account={"recording": recording})
    return {share.name: share.seconds for share in shares_of([(row, list(blocks))], 0.0, 10.0)[1]}


def test_all_seconds_have_a_name() -> None:
    found = parts(
        block("a", 1.0, 4.0, calls=4.0), block("a", 6.0, 2.0, calls=2.0, queue=0.5, transfer=0.4, reading=0.1),
        block("b", 1.0, 8.0, calls=7.5, around=0.3, packing=0.2), recording=0.5,
    )  # fmt: skip
    assert sum(found.values()) == pytest.approx(20.0)
    assert found["your code"] == pytest.approx(13.5)
    assert found["between items"] == pytest.approx(0.3)
    assert found["serialisation"] == pytest.approx(0.3)
    assert (found["queue"], found["transfer"]) == pytest.approx((0.5, 0.4))
    assert found["record"] == pytest.approx(1.0)
    assert found["no work"] + found["other"] == pytest.approx(4.0)
    assert found["other"] == pytest.approx(0.0, abs=0.25)


def test_the_time_between_two_drivers_is_no_work() -> None:
    """Workers of the second driver have the names of the first one's."""
    found = parts(block("a", 0.0, 2.0, calls=2.0), block("a", 8.0, 2.0, calls=2.0), slots=1)
    assert (found["no work"], found["other"]) == pytest.approx((6.0, 0.0))


def test_slots_that_were_never_used_are_no_work() -> None:
    assert parts(block("a", 0.0, 10.0, calls=10.0), block("b", 0.0, 10.0, calls=10.0), slots=4)["no work"] == 20.0


def test_a_slot_that_was_warm_before_the_run_had_nothing_to_do_for_no_longer_than_the_run() -> None:
    found = parts(block("a", 1.0, 9.0, calls=9.0, nothing=3600.0), slots=1)
    assert (found["no work"], sum(found.values())) == pytest.approx((1.0, 10.0))


def test_one_worker_of_several_threads_counts_as_so_many() -> None:
    blocks = [block("dask-0", 0.0, 10.0, calls=10.0) for _ in range(4)]
    found = parts(*blocks, slots=4)
    assert (found["your code"], found["no work"]) == pytest.approx((40.0, 0.0))


def test_what_nothing_was_noted_of_has_no_shares() -> None:
    assert parts(ItemBlock("m", 0, 5)) == {}
    assert parts(block("a", 0.0, 10.0, calls=10.0), kind="call") == {}
