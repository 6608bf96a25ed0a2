"""Packing of item columns: what goes in comes out, in any order, merged or not, and it is small."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.core import states
from anabranch.core.errors import RecordsError
from anabranch.core.runs import ItemBlock, ItemRow
from anabranch.records.blocks import Pack, decode, encode, times_of
from anabranch.records.views import StateFilter, current_items

if TYPE_CHECKING:
    from collections.abc import Sequence


WHOLE = st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**40), 2**40)
Known = dict[int, tuple[int, int | None, int | None, str]]  # index: code, start, duration (microseconds), worker


@st.composite
def blocks(draw: st.DrawFn) -> list[ItemBlock]:
    """Blocks without common items, in any order, with the same time columns."""
    has_started, has_durations = draw(st.booleans()), draw(st.booleans())
    sizes = draw(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), min_size=1, max_size=12))
    found, first = [], draw(st.integers(0, 2**33))
    for size, gap in sizes:
        first += gap
        exactly = {"min_size": size, "max_size": size}
        codes = draw(st.none() | st.lists(st.integers(1, 13), **exactly).map(bytes))
        kind = draw(st.sampled_from("iq"))
        numbers = st.integers(-(2**31), 2**31 - 1) if kind == "i" else WHOLE
        found.append(
            ItemBlock(
                "m", first, size, codes, draw(st.integers(0, 2**31)) / 8.0,
                array(kind, draw(st.lists(numbers, **exactly))) if has_started else None,
                array(kind, draw(st.lists(numbers, **exactly))) if has_durations else None,
                1, draw(st.sampled_from(["", "w1", "w2 \"é\n"])),
            )
        )  # fmt: skip
        first += size
    return list(draw(st.permutations(found)))


def known_of(blocks: Sequence[ItemBlock]) -> Known:
    known: Known = {}
    for b in blocks:
        for n in range(b.count):
            started = None if b.started is None else round(b.base * 1e6) + b.started[n]
            duration = None if b.durations is None else b.durations[n]
            known[b.first + n] = (states.COMPLETED if b.codes is None else b.codes[n], started, duration, b.worker)
    return known


def known_in(pack: Pack) -> Known:
    known: Known = {}
    at = 0
    for first, count, offset, who in zip(pack.firsts, pack.counts, pack.offsets, pack.who, strict=True):
        for n in range(count):
            code = states.COMPLETED if pack.codes is None else pack.codes[at]
            started = round(pack.base * 1e6) + offset + pack.started[at] if pack.times & 1 else None
            duration = pack.durations[at] if pack.times & 2 else None
            known[first + n] = (code, started, duration, pack.workers[who])
            at += 1
    assert at == pack.count
    return known


def packed(blocks: Sequence[ItemBlock]) -> Pack:
    pack = Pack(blocks[0].base, times_of(blocks[0]))
    for block in blocks:
        pack.add(block)
    return pack


@given(blocks(), st.booleans())
def test_round_trip(blocks: list[ItemBlock], sealed: bool) -> None:
    pack = packed(blocks)
    assert known_in(pack) == known_of(blocks)
    again = decode(encode(pack, sealed=sealed))
    assert known_in(again) == known_of(blocks)
    assert (again.first, again.last) == (min(known_of(blocks)), max(known_of(blocks)))


@given(blocks(), st.integers(1, 11), st.booleans())
def test_packs_merge(blocks: list[ItemBlock], cut: int, sealed: bool) -> None:
    parts = [part for part in (blocks[:cut], blocks[cut:]) if part]
    whole = Pack(blocks[0].base, times_of(blocks[0]))
    for part in parts:
        whole.extend(decode(encode(packed(part), sealed=sealed)))
    assert known_in(decode(encode(whole, sealed=True))) == known_of(blocks)


@given(blocks())
def test_adding_leaves_the_block_alone(blocks: list[ItemBlock]) -> None:
    before = known_of(blocks)
    packed(blocks)
    assert known_of(blocks) == before


@given(blocks(), st.data())
def test_damaged_bytes_are_an_error_or_harmless(blocks: list[ItemBlock], data: st.DataObject) -> None:
    raw = bytearray(encode(packed(blocks), sealed=data.draw(st.booleans())))
    del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    with pytest.raises(RecordsError):
        decode(bytes(raw))


@pytest.mark.parametrize("sealed", [True, False])
def test_cut_anywhere_it_is_an_error(sealed: bool) -> None:
    times = array("i", [0] * 12)
    raw = encode(packed([ItemBlock("m", 0, 12, None, 0.0, times, times, 1, "w1")]), sealed=sealed)
    for length in range(len(raw)):
        with pytest.raises(RecordsError):
            decode(raw[:length])


@given(blocks(), st.data())
def test_indexes_known(blocks: list[ItemBlock], data: st.DataObject) -> None:
    items = known_of(blocks)
    asked = sorted(data.draw(st.sets(st.integers(min(items) - 2, max(items) + 2))))
    found = list(packed(blocks).among(asked))
    assert set(found) == set(items).intersection(asked)


def test_format_of_the_future_is_refused() -> None:
    raw = bytearray(encode(packed([ItemBlock("m", 0, 3)]), sealed=False))
    raw[0] = 99
    with pytest.raises(RecordsError, match="format 99"):
        decode(bytes(raw))


@pytest.mark.parametrize("column", ["codes", "started", "durations"])
def test_columns_of_another_length_are_refused(column: str) -> None:
    block = ItemBlock("m", 0, 3)
    setattr(block, column, bytes(2) if column == "codes" else array("i", [1, 2]))
    with pytest.raises(RecordsError, match="of 3 items"):
        times_of(block)


def test_singles_in_order_become_one_segment() -> None:
    singles = [ItemBlock("m", n, 1, None, 5.0 + n / 1000, array("i", [0]), array("i", [7])) for n in range(5000)]
    pack = packed(singles)
    assert len(pack.firsts) == 1
    assert len(encode(pack, sealed=True)) < 6 * 5000
    assert known_in(pack) == known_of(singles)


def test_a_sealed_block_is_small() -> None:
    started = array("i", range(0, 65_536 * 1000, 1000))
    durations = array("i", [n * 7919 % 1000 for n in range(65_536)])
    pack = packed([ItemBlock("m", 0, 65_536, None, 1.0, started, durations)])
    assert len(encode(pack, sealed=True)) <= 7 * 65_536


@pytest.mark.parametrize("sealed", [False, True])
def test_a_block_of_many_items_at_once_can_be_read_again(sealed: bool) -> None:
    count = 5_000_000
    zeros = array("i", bytes(4 * count))
    found = decode(encode(packed([ItemBlock("m", 0, count, None, 1.0, zeros, zeros)]), sealed=sealed))
    assert (found.count, len(found.started), len(found.durations)) == (count, count, count)


def test_more_zeros_than_items_are_refused() -> None:
    zeros = array("i", bytes(4 * 9))
    raw = encode(packed([ItemBlock("m", 0, 9, None, 1.0, zeros, zeros)]), sealed=True)
    nine, many = (b"\0" + count.to_bytes(4, "little") for count in (9, 2**32 - 1))
    assert raw.endswith(nine)
    with pytest.raises(RecordsError, match="damaged"):
        decode(raw.removesuffix(nine) + many)


# -- the current view ------------------------------------------------------------------------------

ENDS = [states.COMPLETED, states.FAILED, states.TIMED_OUT, states.CANCELLED]


ATTEMPTS = st.integers(1, 3)
CODES = st.lists(st.sampled_from([states.PENDING, *ENDS]), min_size=1)


@given(
    st.lists(st.tuples(ATTEMPTS, st.integers(0, 20), CODES), max_size=6),
    st.dictionaries(st.tuples(st.integers(0, 25), ATTEMPTS), st.sampled_from([states.RUNNING, *ENDS]), max_size=12),
    st.integers(0, 10),
    st.integers(1, 30),
    st.none() | st.sets(st.sampled_from(["Completed", "failed", "TimedOut"])),
)
def test_last_attempt_counts(
    written: list[tuple[int, int, list[int]]],
    special: dict[tuple[int, int], int],
    low: int,
    width: int,
    asked: set[str] | None,
) -> None:
    written.sort(key=lambda w: w[0])
    packs = [packed([ItemBlock("m", first, len(codes), bytes(codes))]) for _, first, codes in written]
    expected: dict[int, tuple[int, int]] = {}  # index: attempt, code
    for attempt, first, codes in written:
        expected |= {first + n: (attempt, code) for n, code in enumerate(codes) if code}
    for (index, attempt), code in sorted(special.items(), key=lambda entry: entry[0][1]):
        old_attempt, old = expected.get(index, (0, 0))
        if attempt > old_attempt or (attempt == old_attempt and (code in ENDS or old not in ENDS)):
            expected[index] = (attempt, code)
    wanted = None if asked is None else StateFilter.of(asked)
    shown = {
        index: (attempt, states.NAMES[code][0])
        for index, (attempt, code) in sorted(expected.items())
        if low <= index < low + width and (wanted is None or wanted.matches(code))
    }
    rows = sorted(
        (ItemRow("m", i, attempt, code) for (i, attempt), code in special.items() if low <= i < low + width),
        key=lambda row: row.attempt,
    )
    found = current_items(low, low + width, packs, [w[0] for w in written], rows, wanted, 1000)
    assert {view.index: (view.attempt, view.state) for view in found} == shown
    assert [view.index for view in found] == list(shown)


def test_a_types_own_name_means_all_its_states() -> None:
    failed = StateFilter.of(["failed"])
    assert failed.codes == {states.FAILED, states.TIMED_OUT, states.TRIGGER_FAILED}
    assert failed.matches(states.FAILED, "Rejected")
    assert StateFilter.of(["TimedOut"]).codes == {states.TIMED_OUT}
    rejected = StateFilter.of(["Rejected"])
    assert rejected.matches(states.FAILED, "Rejected")
    assert not rejected.matches(states.FAILED, "Failed")
