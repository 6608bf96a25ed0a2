"""States of items as cells, and cells as a PNG that any reader of PNGs reads."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest

from anabranch.core.states import (
    AWAITING_RETRY,
    COMPLETED,
    FAILED,
    NAMES,
    PENDING,
    RUNNING,
    TIMED_OUT,
)
from anabranch.display import strips
from anabranch.display.strips import BROKEN, DONE, HEIGHT, KINDS, LEAST, RUNS, WAITS, WIDTH

Pixel = tuple[int, int, int, int]


def pixels(png: bytes) -> list[list[Pixel]]:
    """The rows of a PNG with a palette, whose rows have no filter; checks each part's sum."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    parts: dict[bytes, bytes] = {}
    at = 8
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", png, at + 8 + size) == (zlib.crc32(name + data),)
        parts[name] = data
        at += 12 + size
    assert list(parts) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert rest == [8, 3, 0, 0, 0]
    rows = zlib.decompress(parts[b"IDAT"])
    assert len(rows) == height * (width + 1)
    palette, clear = parts[b"PLTE"], parts[b"tRNS"]

    def color(entry: int) -> Pixel:
        red, green, blue = palette[3 * entry : 3 * entry + 3]
        return red, green, blue, clear[entry] if entry < len(clear) else 255

    found = [rows[y * (width + 1) : (y + 1) * (width + 1)] for y in range(height)]
    assert {row[0] for row in found} == {0}
    return [[color(entry) for entry in row[1:]] for row in found]


def strip_of(*codes: int) -> list[list[Pixel]]:
    return pixels(strips.strip(strips.kinds_of(bytes(codes))))


# -- counting ------------------------------------------------------------------------------------


def test_every_state_has_a_kind() -> None:
    words = {name: strips.kind_of(code).word for code, (name, _) in enumerate(NAMES)}
    assert words == {
        "Pending": "waiting", "Scheduled": "waiting", "AwaitingRetry": "waiting", "AwaitingConcurrencySlot": "waiting",
        "AwaitingCache": "waiting", "Running": "running", "Retrying": "running", "Completed": "completed",
        "Cached": "cached", "Failed": "failed", "TimedOut": "failed", "TriggerFailed": "failed", "Crashed": "crashed",
        "Cancelled": "cancelled", "Suspended": "cancelled", "RolledBack": "completed",
        "Late": "waiting", "Paused": "waiting", "Cancelling": "waiting",
    }  # fmt: skip


@pytest.mark.parametrize("items", [0, 1, 7, WIDTH, WIDTH + 1, 10_007])
def test_cells_hold_all_items(items: int) -> None:
    codes = bytes(i * 7 % len(NAMES) for i in range(items))
    kinds = strips.kinds_of(codes)
    found = strips.cells(kinds)
    assert len(found) == min(items, WIDTH)
    sizes = {sum(counts) for counts in found}
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    whole = tuple(sum(column) for column in zip(*found, strict=True)) if found else (0,) * len(KINDS)
    assert whole == strips.totals(kinds)
    assert whole == tuple(sum(strips.kind_of(code) is kind for code in codes) for kind in KINDS)


def test_a_million_items_are_passed_over_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in bytes that are looked at, not in time: items that completed are passed over once."""

    class Watched(bytes):
        looked = 0

        def translate(self, table: Any, /, delete: Any = b"") -> Watched:
            Watched.looked += len(self)
            return Watched(bytes(self).translate(table, delete))

        def __getitem__(self, at: Any) -> Any:
            return Watched(bytes(self)[at])

    codes = bytearray([COMPLETED]) * 1_000_000
    for index in range(0, 1_000_000, 20):
        codes[index] = FAILED
    calls: list[int] = []
    whole = strips.totals
    monkeypatch.setattr(strips, "totals", lambda kinds: calls.append(0) or whole(kinds))  # type: ignore[func-returns-value]
    strips.cells(Watched(strips.kinds_of(codes)))
    assert len(calls) <= WIDTH
    assert Watched.looked <= 1.2 * 1_000_000


@pytest.mark.parametrize(
    ("ready", "sent", "running"),
    [
        ([(4, 8)], 3, [1, 2, 3]),
        ([(4, 8)], 2, [1, 2]),
        ([(2, 4), (7, 8)], 99, [1, 4, 5, 6]),
        ([(7, 8), (2, 4)], 2, [1, 4]),
        ([], 0, []),
        ([(0, 8)], 5, []),
    ],
)
def test_items_under_way_are_those_that_are_not_ready(
    ready: list[tuple[int, int]], sent: int, running: list[int]
) -> None:
    codes = bytearray([COMPLETED, *[PENDING] * 7])
    found = strips.with_running(codes, ready, sent)
    assert [i for i, code in enumerate(found) if code == RUNNING] == running
    assert found.count(PENDING) + len(running) == 7
    assert codes.count(PENDING) == 7, "the map's own column stays as it is"


def test_what_is_under_way_is_marked_without_a_step_an_item() -> None:
    found = strips.with_running(bytearray(1_000_000), [(400_000, 1_000_000)], 400_000)
    assert found == bytes([RUNNING]) * 400_000 + bytes(600_000)


def test_counts_are_told_in_words() -> None:
    kinds = strips.kinds_of(bytes([COMPLETED] * 1700 + [FAILED] * 9 + [TIMED_OUT] * 3 + [AWAITING_RETRY]))
    assert strips.told(strips.totals(kinds)) == "1,700 completed, 1 waiting, 12 failed"
    assert strips.told(strips.totals(b"")) == "no items"


# -- drawing -------------------------------------------------------------------------------------


def test_a_cell_shows_shares_and_one_failure_among_thousands() -> None:
    counts = [0] * len(KINDS)
    counts[DONE], counts[BROKEN], counts[WAITS] = 9_998, 1, 1
    found = strips.heights(counts)
    assert sum(found) == HEIGHT
    assert (found[BROKEN], found[WAITS]) == (LEAST, 1)
    assert strips.heights([0] * len(KINDS)) == [0] * len(KINDS)
    everything = strips.heights([1] * len(KINDS))
    assert sum(everything) == HEIGHT
    assert min(everything) >= 1


def test_few_items_are_wide_cells_with_gaps() -> None:
    rows = strip_of(COMPLETED, FAILED, PENDING)
    wide = strips.WIDEST
    assert (len(rows), len(rows[0])) == (HEIGHT, 3 * wide)
    assert {row[x] for row in rows for x in range(wide - 1)} == {(*KINDS[DONE].color, 255)}
    assert {row[wide - 1][3] for row in rows} == {0}
    failed = {row[x] for row in rows for x in range(wide, 2 * wide - 1)}
    assert failed == {(*KINDS[BROKEN].color, 255), (*KINDS[BROKEN].over, 255)}, "told by its pattern too"


def test_many_items_fill_the_width_and_failures_stand_on_top() -> None:
    codes = bytearray([COMPLETED]) * 100_000
    codes[50_000] = FAILED
    rows = pixels(strips.strip(strips.kinds_of(codes)))
    assert (len(rows), len(rows[0])) == (HEIGHT, WIDTH)
    broken = {(*KINDS[BROKEN].color, 255), (*KINDS[BROKEN].over, 255)}
    at = [x for x in range(WIDTH) if rows[0][x] in broken]
    assert at == [WIDTH // 2]
    assert [row[at[0]] in broken for row in rows] == [True] * LEAST + [False] * (HEIGHT - LEAST)


def test_no_items_are_a_picture_of_nothing() -> None:
    assert {pixel[3] for row in strip_of() for pixel in row} == {0}


def test_kinds_look_different_without_colour() -> None:
    """In greyscale two kinds that stand side by side differ by their pattern, or by much of their brightness."""

    def grey(color: tuple[int, int, int]) -> float:
        parts = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
        lighter, darker = sorted((grey(one), grey(other)), reverse=True)
        return (lighter + 0.05) / (darker + 0.05)

    assert len({kind.pattern for kind in KINDS if kind.over != kind.color}) == len(KINDS) - 2
    plain = [kind for kind in KINDS if kind.over == kind.color]
    assert [kind.word for kind in plain] == ["completed", "waiting"]
    assert contrast(plain[0].color, plain[1].color) >= 1.5
    for kind in KINDS:
        if kind not in plain:
            assert contrast(kind.color, kind.over) >= 2.5, kind.word
        for paper in (255, 255, 255), (17, 17, 17):  # the better of colour and pattern, on light and on dark
            assert max(contrast(kind.color, paper), contrast(kind.over, paper)) >= 2.9, (kind.word, paper)


def test_a_strip_of_a_million_items_is_small() -> None:
    worst = bytes(strips.kinds_of(bytes(i * 2654435761 % 2**32 % len(NAMES) for i in range(100_000))))
    assert len(strips.strip(worst)) < 8_000
    assert strips.data_uri(strips.strip(b"\0" * 10)).startswith("data:image/png;base64,iVBOR")


def test_swatches_have_the_pattern_of_their_kind() -> None:
    seen = {strips.swatch(kind) for kind in range(len(KINDS))}
    assert len(seen) == len(KINDS)
    rows = pixels(strips.swatch(RUNS))
    assert (len(rows), len(rows[0])) == (strips.SWATCH, strips.SWATCH)
    assert {pixel for row in rows for pixel in row} == {(*KINDS[RUNS].color, 255), (*KINDS[RUNS].over, 255)}
