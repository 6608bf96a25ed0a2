"""The ends of many runs in few lines: counts by state, failures in groups.

Failures that differ only in numbers, paths or quoted names are one group. Pure functions over maps and over the rows
of records.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anabranch.core.states import FAILING, NAMES
from anabranch.display import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from anabranch.core.item_columns import ItemColumns
    from anabranch.core.maps import MapRun
    from anabranch.core.reports import ErrorInfo
    from anabranch.core.runs import Records

GROUPS = 10
KINDS = 1000  # distinct messages that are read of a recorded run's failures
READ = 500  # characters of a message: a group shows its first line
TOLD_APART = 200  # characters by which messages are told apart, without what changes
MESSAGE_WIDTH = 100
_FAILING = bytes(code in FAILING for code in range(256))
_CHANGING = re.compile(r"""'[^']*'|"[^"]*"|<[^<>]*>|(?:/[\w.+-]+)+/?|0x[0-9a-fA-F]+|\d+(?:\.\d+)?|[\w.-]+\.\w+(?=,)""")


@dataclass(slots=True, frozen=True)
class Failures:
    """Failures of one task with similar messages.

    Attributes:
        message: that of the first failure; "" where messages were not read.
        first: index of the first item.
        exact: "yes"; "count" where not all messages were read, so that some may differ; "at least"; "rest" for the
            failures of a type with unread messages, beside groups of that type.
    """

    task: str
    type: str
    message: str
    count: int
    first: int
    exact: str = "yes"


def of_map(map: MapRun, *, kinds: int = KINDS, most: int | None = None) -> list[Failures]:
    """Group a map's failed and crashed items, most frequent first.

    Args:
        kinds: messages that are read, at most.
        most: items that are looked at, at most; None: all. Where there are more, the groups count "at least".
    """
    codes = map.codes
    return of_items(map.spec.name, map, map.errors, codes, range(len(codes)), kinds=kinds, most=most)


def of_items(
    task: str, columns: ItemColumns, errors: Mapping[int, ErrorInfo], codes: bytes | bytearray, items: Sequence[int],
    *, kinds: int = KINDS, most: int | None = None,
) -> list[Failures]:  # fmt: skip
    """Group the failed and crashed ones of these items as `of_map`; `codes` are their states."""
    found: list[Failures] = []
    totals: dict[str, list[int]] = {}
    left = failing(codes)
    for at in itertools.islice(left, most):
        index = items[at]
        error = errors.get(index)
        kind = error.type_name if error is not None else columns.state_names.get(index, NAMES[codes[at]][0])
        total = totals.setdefault(kind, [0, index])
        total[0] += 1
        if len(found) < kinds:
            message = error.message if error is not None else columns.messages.get(index, "")
            found.append(Failures(task, kind, message[:READ], 1, index))
    groups = _filled(merge(found), ((task, kind, many, first) for kind, (many, first) in totals.items()))
    if next(left, None) is not None:
        return [replace(one, exact="at least") if one.exact != "rest" else one for one in groups]
    return groups


def failing(codes: bytes | bytearray) -> Iterator[int]:
    """Yield the places of items that have failed or crashed, without a step for any other item."""
    marks = codes.translate(_FAILING)
    at = marks.find(1)
    while at >= 0:
        yield at
        at = marks.find(1, at + 1)


def of_records(records: Records, flow_run: str) -> list[Failures]:
    """Group all failures of a recorded run, most frequent first; reads at most `KINDS` messages.

    The groups of a type add up to all its failures, however many messages were not read.
    """
    return _filled(merge(Failures(*row) for row in records.failures(flow_run, limit=KINDS)), records.failed(flow_run))


def _filled(read: list[Failures], totals: Iterable[tuple[str, str, int, int]]) -> list[Failures]:
    """Return the groups so that they add up to the totals of (task, type, count, first)."""
    found: list[Failures] = []
    for task, kind, total, first in totals:
        alike = [one for one in read if (one.task, one.type) == (task, kind)]
        rest = total - sum(one.count for one in alike)
        if rest <= 0:
            found += alike
        elif len(alike) == 1:
            found.append(replace(alike[0], count=total, first=min(first, alike[0].first), exact="count"))
        else:
            found += [replace(one, exact="at least") for one in alike]
            found.append(Failures(task, kind, "", rest, first, "rest" if alike else "yes"))
    return sorted(found, key=lambda f: (-f.count, f.task, f.first))


def of_errors(task: str, errors: Iterable[tuple[int, str, str]]) -> list[Failures]:
    """Group errors of (index, type, message)."""
    return merge(Failures(task, kind, message, 1, index) for index, kind, message in errors)


def merge(failures: Iterable[Failures]) -> list[Failures]:
    """Merge groups with messages that differ only in numbers, paths or quoted names."""
    groups: dict[tuple[str, str, str], Failures] = {}
    for given in failures:
        one = replace(given, message=_bare(given))
        key = (one.task, one.type, _CHANGING.sub("*", one.message)[:TOLD_APART])
        known = groups.get(key)
        if known is None:
            groups[key] = one
        else:
            first = one if one.first < known.first else known
            groups[key] = replace(first, count=known.count + one.count)
    return sorted(groups.values(), key=lambda f: (-f.count, f.task, f.first))


def _bare(one: Failures) -> str:
    """Return the message without the type and the phrase that states put before it."""
    return without_phrase(one.message).removeprefix(f"{one.type}: ")


def without_phrase(message: str) -> str:
    """Return the message of a state without the words that all failures begin with."""
    for phrase in "Task run encountered an exception ", "Flow run encountered an exception: ":
        message = message.removeprefix(phrase)
    return message


def failure_lines(failures: Sequence[Failures], limit: int = GROUPS, *, task: bool = False) -> list[str]:
    """Yield ``3 x SyntaxError: invalid syntax, first at item 17``, one line a group, and the rest as one count.

    Args:
        failures: groups, in the order of the list.
        limit: groups that get a line.
        task: name the task too.
    """
    lines = []
    for one in failures[:limit]:
        who = f"{one.task}: " if task else ""
        joint = (", e.g. " if one.exact == "count" else ": ") if one.type else ""  # a refused item has raised nothing
        what = f"{one.type}{joint}{_first_line(one.message)}" if one.message else one.type
        where = f"first at item {one.first}" if one.count > 1 else f"item {one.first}"
        if one.exact == "rest":
            where = "other messages"
        least = "at least " if one.exact == "at least" else ""
        lines.append(f"{who}{least}{units.count(one.count)} x {what} ({where})")
    rest = failures[limit:]
    if rest:
        lines.append(f"and {units.count(sum(f.count for f in rest))} more of {len(rest)} other kinds")
    return lines


def counts_line(counts: Mapping[str, int]) -> str:
    """Return ``1,700 Completed, 12 Failed``, in the order of the states; ``nothing`` for none."""
    order = {name: at for at, (name, _) in enumerate(NAMES)}
    known = sorted(counts.items(), key=lambda item: order.get(item[0], len(order)))
    return ", ".join(f"{units.count(n)} {name}" for name, n in known if n) or "nothing"


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= MESSAGE_WIDTH else line[: MESSAGE_WIDTH - 3] + "..."
