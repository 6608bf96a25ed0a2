"""Tables of the view: widths, what has changed, texts in cells of a terminal."""

from __future__ import annotations

import pytest

from anabranch.display.watch.facts import pause_after
from anabranch.display.watch.tables import Cell, Column, Row, Table, cells, changes, edges, fitted, placed, plain

COLUMNS = (Column("name"), Column("state", 5), Column("n", 4, right=True))


def table(*rows: tuple[str, ...]) -> Table:
    return Table(COLUMNS, tuple(Row(row[0], tuple(Cell(text) for text in row)) for row in rows))


def test_a_column_without_a_width_takes_what_is_left() -> None:
    assert [column.width for column in fitted(COLUMNS, 40)] == [27, 5, 4]
    two = fitted((Column("a"), Column("b", 10), Column("c")), 41)
    assert [column.width for column in two] == [13, 10, 14]
    assert edges(two) == [0, 15, 27]


def test_where_there_is_no_room_the_last_columns_go() -> None:
    assert [column.title for column in fitted(COLUMNS, 16)] == ["name", "state"]
    assert [column.width for column in fitted(COLUMNS, 3)] == [3]


def test_only_what_differs_is_drawn_again() -> None:
    old = table(("a", "x", "1"), ("b", "y", "2"), ("c", "z", "3"))
    assert changes(old, table(("a", "x", "1"), ("b", "y", "2"), ("c", "z", "3"))) == []
    assert changes(old, table(("a", "x", "1"), ("b", "w", "9"), ("c", "z", "4"))) == [(1, 1, 2), (2, 2, 2)]
    assert changes(old, table(("a", "x", "1"), ("b", "y", "2"))) == [(2, 0, 2)]
    assert changes(old, table(*[(name, "x", "1") for name in "abcd"])) == [(1, 1, 2), (2, 1, 2), (3, 0, 2)]
    assert changes(old, Table(fitted(COLUMNS, 30), old.rows)) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc", "abc  "),
        ("abcdef", "abcd…"),
        ("日本", "日本 "),
        ("日本語", "日本…"),
        ("a\x1b[31mb", "a[31…"),
        ("a\nb\tc", "a b c"),
    ],
)
def test_texts_fill_their_cells(text: str, shown: str) -> None:
    assert placed(text, Column("", 5)) == shown
    assert cells(shown) == 5


def test_numbers_stand_at_the_right() -> None:
    assert placed("42", Column("", 5, right=True)) == "   42"
    assert placed("123456", Column("", 1)) == "1"
    assert plain("ok") == "ok"


def test_looks_take_a_twentieth_of_the_time_and_come_four_times_a_second_at_most() -> None:
    assert [pause_after(spent) for spent in (0.0, 0.01, 0.05, 1.0)] == [0.25, 0.25, pytest.approx(0.95), 5.0]
