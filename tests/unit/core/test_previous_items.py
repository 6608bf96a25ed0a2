"""Places of stored values, and what an earlier driver has left of a map."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from anabranch.core.keys import NO_DIGEST, digest_of
from anabranch.core.maps import unchanged
from anabranch.core.places import Places
from anabranch.core.previous_items import BARE, KEPT, PreviousItems
from anabranch.core.runs import StoredRow

ADDED = st.lists(
    st.one_of(
        st.builds(lambda lo, n, at: (range(lo, lo + n), range(at, at + n)), st.integers(0, 30), st.integers(1, 9),
                  st.integers(0, 3)),
        st.lists(st.integers(0, 40), min_size=1, max_size=9, unique=True).map(lambda found: (found, range(len(found)))),
    ),
    max_size=12,
)  # fmt: skip


@given(ADDED)
def test_the_place_that_was_added_last_counts(added: list[tuple[Any, range]]) -> None:
    places, wanted = Places(), {}
    for number, (items, slots) in enumerate(added):
        places.add(f"block-{number}", items, slots)
        wanted.update({item: (f"block-{number}", slot) for item, slot in zip(items, slots, strict=True)})
    assert {item: found for item in range(60) if (found := places.find(item))} == wanted
    assert bool(places) == bool(added)
    for lo, hi in ((0, 5), (10, 31), (7, 8)):
        assert places.covers(lo, hi) == all(item in wanted for item in range(lo, hi))


def recorded(values: list[Any], first: int = 0, name: str = "a") -> StoredRow:
    digests = b"".join(map(digest_of, values))
    return StoredRow("map", name, range(first, first + len(values)), range(len(values)), digests)


def kept(earlier: PreviousItems, lo: int, hi: int, unchanged: Any = lambda item: True) -> list[int]:
    runs = earlier.split(lo, hi, unchanged, lambda a, b: False)
    return [item for a, b, keep in runs if keep for item in range(a, b)]


def test_items_with_the_same_inputs_are_kept_once() -> None:
    earlier = PreviousItems([recorded([10, 11, 12, 13])])
    earlier.verify(0, [10, 99, 12, 13, 14])
    found = list(earlier.split(0, 6, lambda item: item != 3, lambda a, b: False))
    assert found == [(0, 1, True), (1, 2, False), (2, 3, True), (3, 6, False)]
    assert [earlier.holds(item) for item in range(6)] == [True, False, True, False, False, False]
    assert earlier.changed == 1
    assert kept(earlier, 0, 6) == []  # they have been handed out
    assert earlier.places.find(2) == ("a", 2)


def test_inputs_that_nobody_has_compared_hold_nothing() -> None:
    earlier = PreviousItems([recorded([1, 2])])
    assert not earlier.holds(0)
    assert kept(earlier, 0, 2) == []
    assert earlier.unclaimed() == 2


def test_inputs_that_cannot_be_hashed_are_like_nothing() -> None:
    earlier = PreviousItems([StoredRow("map", "a", [0], [0], NO_DIGEST)])
    earlier.verify(0, [lambda: iter([])])
    earlier.verify_digest(0, NO_DIGEST)
    assert kept(earlier, 0, 1) == []


def test_a_lost_block_lets_its_items_run_and_what_follows_from_them_stand() -> None:
    rows = [recorded([1, 2], name="gone"), recorded([3, 4], first=2), StoredRow("map", "", [4], [0], digest_of(5))]
    earlier = PreviousItems(rows, lambda name: name == "gone")
    earlier.verify(0, [1, 2, 3, 4, 5])
    assert kept(earlier, 0, 5) == [2, 3]
    assert [earlier.marks[item] for item in range(5)] == [BARE, BARE, KEPT, KEPT, BARE]
    assert all(earlier.holds(item) for item in range(5))
    bare = PreviousItems(rows, lambda name: name == "gone", bare=True)
    bare.verify(0, [1, 2, 3, 4, 5])
    assert kept(bare, 0, 5) == [0, 1, 2, 3, 4]  # where nobody reads a value, none is missed


def test_a_later_row_overrules_an_earlier_one() -> None:
    earlier = PreviousItems([recorded([1], name="old"), recorded([2], name="new")])
    earlier.verify(0, [1])
    assert kept(earlier, 0, 1) == []
    earlier = PreviousItems([recorded([1], name="old"), recorded([2], name="new")])
    earlier.verify(0, [2])
    assert kept(earlier, 0, 1) == [0]
    assert earlier.places.find(0) == ("new", 0)


def test_mixed_columns_are_compared_as_tuples() -> None:
    earlier = PreviousItems([recorded([(1,), (2,)])])
    earlier.wraps = True
    earlier.verify(0, [1, 3])
    assert kept(earlier, 0, 2) == [0]


def test_readers_hold_when_all_they_read_holds() -> None:
    earlier = PreviousItems([recorded([1, 2, 3])])
    earlier.verify(0, [1, 2, 4])
    map = SimpleNamespace(resume=SimpleNamespace(previous=earlier), codes=bytes(3))
    fresh = SimpleNamespace(resume=SimpleNamespace(previous=None), codes=bytes(3))

    def up(of: Any, item: int | None) -> Any:
        return SimpleNamespace(map=of, item=item)

    assert unchanged([up(map, 0), up(map, 1)])
    assert not unchanged([up(map, 2)])
    assert not unchanged([up(map, None)])
    assert not unchanged([up(fresh, 0)])
    assert unchanged([up(map, None)], at=1)
    assert not unchanged([up(map, None)], at=2)


def test_single_runs_are_offered_under_their_new_index() -> None:
    earlier = PreviousItems()
    earlier.offer(4, ("a", 7))
    earlier.offer(2, None)
    assert kept(earlier, 0, 6) == [4]
    assert earlier.places.find(4) == ("a", 7)
    assert earlier.holds(2)


MARKS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=20)  # same, unchanged, empty


@given(MARKS, st.integers(0, 12), st.integers(0, 24))
def test_ranges_are_split_as_items_one_by_one_would_be(items: list[tuple[bool, bool, bool]], lo: int, hi: int) -> None:
    rows = [
        StoredRow("map", "" if empty else "a", [n], [n], digest_of(n if same else -1))
        for n, (same, _, empty) in enumerate(items)
    ]
    earlier = PreviousItems(rows)
    earlier.verify(0, range(len(items)))

    def unchanged(item: int) -> bool:
        return items[item][1]

    runs = list(earlier.split(lo, hi, unchanged, lambda a, b: all(items[n][1] for n in range(a, b))))
    assert [n for a, b, _ in runs for n in range(a, b)] == list(range(lo, hi))
    found = {n for a, b, keep in runs if keep for n in range(a, b)}
    assert found == {n for n in range(lo, min(hi, len(items))) if items[n] == (True, True, False)}
