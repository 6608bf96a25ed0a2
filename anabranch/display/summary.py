"""The ends of many runs in few lines: counts by state, failures in groups.

Failures that differ only in numbers, paths or quoted names are one group. Pure functions over maps and over the rows
of records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anabranch.core.states import NAMES, StateType
from anabranch.display import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Records

GROUPS = 10
KINDS = 1000  # distinct messages that are read of a recorded run's failures
MESSAGE_WIDTH = 100
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


def of_map(map: MapRun) -> list[Failures]:
    """Group a map's failed and crashed items, most frequent first; reads at most `KINDS` messages."""
    task = map.spec.name
    found: list[Failures] = []
    totals: dict[str, list[int]] = {}
    for index in map.failures():
        if NAMES[map.codes[index]][1] is StateType.CANCELLED:
            continue
        error = map.errors.get(index)
        kind = error.type_name if error is not None else map.state_names.get(index, NAMES[map.codes[index]][0])
        total = totals.setdefault(kind, [0, index])
        total[0] += 1
        if len(found) < KINDS:
            message = error.message if error is not None else map.messages.get(index, "")
            found.append(Failures(task, kind, message, 1, index))
    return _filled(merge(found), ((task, kind, many, first) for kind, (many, first) in totals.items()))


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
            found.append(replace(alike[0], count=total, exact="count"))
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
        key = (one.task, one.type, _CHANGING.sub("*", one.message))
        known = groups.get(key)
        if known is None:
            groups[key] = one
        else:
            first = one if one.first < known.first else known
            groups[key] = replace(first, count=known.count + one.count)
    return sorted(groups.values(), key=lambda f: (-f.count, f.task, f.first))


def _bare(one: Failures) -> str:
    """Return the message without the type and the phrase that states put before it."""
    return one.message.removeprefix("Task run encountered an exception ").removeprefix(f"{one.type}: ")


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
        joint = ", e.g. " if one.exact == "count" else ": "
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
