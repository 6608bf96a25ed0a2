"""Columns of microseconds: four bytes a number, eight where one does not fit (an item of over 35 minutes)."""

from __future__ import annotations

from array import array


def joined(column: array[int], more: array[int]) -> array[int]:
    """Append `more` to `column`, in place unless it has to become wider; returns the column."""
    if column.typecode == more.typecode:
        column.extend(more)
        return column
    try:
        column.extend(array(column.typecode, more))
    except OverflowError:
        column = array("q", column)
        column.extend(array("q", more))
    return column
