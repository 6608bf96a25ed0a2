"""Why task runs wait or ended as they did, from the record: groups for many, one reason for one."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anabranch.core import reasons, states
from anabranch.core.errors import RecordsError
from anabranch.core.processes import machine_of
from anabranch.display.watch.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.core.runs import FlowRunRow, ItemRow, ItemView, MapRow, ReasonCount, Records

GROUPS = 50  # that are listed; the rest is counted
READ = 10_000  # failed items of one map at most, to count the types of their exceptions


@dataclass(slots=True, frozen=True)
class Because:
    """Task runs of one map that share a reason.

    Attributes:
        index: index of the first run; `sentence`, `details`, `attempt` and `state` are those of this one.
        count: the number of runs.
        reason: a code word of `core.reasons`; empty for a run that just completed.
    """

    task: str
    map: str
    index: int
    count: int
    state: str
    reason: str
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1

    def __str__(self) -> str:
        who = f"{self.task}[{self.index}]" if self.count == 1 else f"{self.task}: {self.count:,} x"
        word = f" [{self.reason}]" if self.reason else ""
        first = "" if self.count == 1 else f" (first at item {self.index})"
        return f"{who} {self.state}{word}: {self.sentence}{first}"


@dataclass(slots=True, frozen=True, repr=False)
class Explanation:
    """Why task runs wait, were skipped, cached, retried, crashed or failed: one reason a run, in groups.

    `str()` and `repr()` of it are for people; `reason`, `sentence` and `details` are those of its first group.
    """

    subject: str
    groups: tuple[Because, ...] = ()
    left_out: int = 0  # groups beyond the first ones
    left_out_runs: int = 0  # task runs in these

    @property
    def reason(self) -> str:
        return self.groups[0].reason if self.groups else ""

    @property
    def sentence(self) -> str:
        return self.groups[0].sentence if self.groups else "no task run has failed, was retried or was cancelled"

    @property
    def details(self) -> dict[str, Any]:
        return self.groups[0].details if self.groups else {}

    def plain(self) -> dict[str, Any]:
        """Return the explanation for JSON."""
        groups = [asdict(group) for group in self.groups]
        told = {"shown": len(groups), "total": len(groups) + self.left_out, "left_out_runs": self.left_out_runs}
        return {"subject": self.subject, **told, "groups": groups}

    @property
    def rest(self) -> str:
        """Return a sentence on the groups that are left out; "" when none are."""
        return f"and {self.left_out_runs:,} runs in {self.left_out:,} other groups" if self.left_out else ""

    def __str__(self) -> str:
        lines = [str(group) for group in self.groups] or [self.sentence]
        return "\n".join([*lines, self.rest] if self.rest else lines)

    __repr__ = __str__  # the last line of a cell shows it


# -- what is meant ---------------------------------------------------------------------------------

_TARGET = re.compile(r"(?P<task>.+?)(?:#(?P<nth>\d+))?(?:\[(?P<index>\d+)\])?$")


def target(text: str) -> tuple[str, int, int | None]:
    """Split ``TASK``, ``TASK[INDEX]`` or ``TASK#2[INDEX]`` into (task, number of the series or 0, index)."""
    found = _TARGET.match(text)
    if found is None:
        raise RecordsError(f"{text!r} names no task run: write TASK, TASK[INDEX] or TASK#2[INDEX]")
    index = found["index"]
    return found["task"], int(found["nth"] or 0), None if index is None else int(index)


def find_run(records: Records, run: str) -> FlowRunRow:
    """Return the flow run of an id, the start of one, or a name; raises RecordsError."""
    row = records.flow_run(run)
    if row is None:
        raise RecordsError(f"no flow run {run!r} in the record; `anabranch runs` lists them")
    return row


def find_maps(records: Records, run: FlowRunRow, task: str, nth: int) -> list[MapRow]:
    """Return all maps and series of a task in a run, or the `nth`; raises RecordsError, which lists the tasks."""
    maps = records.maps(run.id)
    found = [map for map in maps if map.task == task and not map.superseded]
    if not found:
        names = ", ".join(dict.fromkeys(map.task for map in maps)) or "none"
        raise RecordsError(f"run {run.name!r} has no task {task!r}; its tasks are: {names}")
    if nth > len(found):
        raise RecordsError(f"run {run.name!r} has {len(found)} series of {task!r}, no {task}#{nth}")
    return [found[nth - 1]] if nth else found


def only_one(run: FlowRunRow, task: str, found: Sequence[MapRow]) -> MapRow:
    """Return the single series that an index can belong to; raises RecordsError, which says how to choose one."""
    if len(found) == 1:
        return found[0]
    ways = "; ".join(f"{task}#{n} ({map.kind}, {_length(map)} runs)" for n, map in enumerate(found, 1))
    raise RecordsError(f"run {run.name!r} has {len(found)} series of {task!r}, say which one: {ways}")


def _length(map: MapRow) -> str:
    length = map.length if map.length is not None else sum(map.counts.values())
    return f"{length:,}"


# -- from the record -------------------------------------------------------------------------------


def explain(records: Records, run: str, wanted: str = "") -> Explanation:
    """Explain why runs of a recorded flow run wait or ended as they did.

    Args:
        run: its id, the start of its id, or its name.
        wanted: ``TASK``, ``TASK[INDEX]``, or ``TASK#2[INDEX]`` for the second series of a task; all when empty.

    Raises:
        RecordsError: there is no such run, task or item, or several; says which there are.
    """
    row = find_run(records, run)
    if not wanted:
        maps = [map for map in records.maps(row.id) if not map.superseded]
        return joined(_never_ended(records, row, maps), grouped(records, f"flow run {row.name!r}", maps))
    task, nth, index = target(wanted)
    found = find_maps(records, row, task, nth)
    if index is None:
        told = grouped(records, f"{task} of flow run {row.name!r}", found)
        return joined(_never_ended(records, row, found), told)
    return Explanation(wanted, (of_item(records, only_one(row, task, found), index, row),))


def grouped(records: Records, subject: str, maps: Sequence[MapRow], skip: frozenset[int] = frozenset()) -> Explanation:
    """Count runs by reason, each group with its first run; items with a last state in `skip` are left out."""
    names = {map.id: map for map in maps}
    counts = [c for c in records.reasons(list(names)) if c.overcome or c.state not in skip]
    counts = [_with_alike(count, names[count.map], counts) for count in counts]
    counts = _by_error(records, names, counts)
    groups = tuple(_group(records, names[count.map], count) for count in counts[:GROUPS])
    rest = counts[GROUPS:]
    return Explanation(subject, groups, len(rest), sum(count.times for count in rest))


def _with_alike(count: ReasonCount, map: MapRow, counts: Sequence[ReasonCount]) -> ReasonCount:
    """Add the items that were cancelled together to a group: they have one row, that of the first of them."""
    alike = [c for c in counts if c.map == map.id and c.state == states.CANCELLED]
    if not alike or count is not alike[0]:
        return count
    told = sum(c.times for c in alike)
    return count._replace(times=count.times + max(0, map.counts.get("Cancelled", 0) - told))


def _by_error(records: Records, maps: Mapping[str, MapRow], counts: Sequence[ReasonCount]) -> list[ReasonCount]:
    """Split groups of failures by the type of their exceptions, the largest first.

    The record counts types by task. Where a task has several maps, the failed items of each are read and counted.
    """
    if not any(_several_failures(count) for count in counts):
        return list(counts)
    run = maps[counts[0].map].flow_run
    series = Counter(map.task for map in records.maps(run))
    failed = records.failed(run)
    found: list[ReasonCount] = []
    for count in counts:
        map, parts = maps[count.map], []
        if _several_failures(count):
            alone = series[map.task] == 1
            types = [(times, first) for task, _, times, first in failed if task == map.task]
            parts = [
                count._replace(times=times, first=first)
                for times, first in (types if alone else _types_in(records, map))
                if _last_reason(records, map, first) == count.reason
            ]
        found += parts if sum(part.times for part in parts) == count.times else [count]
    return sorted(found, key=lambda count: -count.times)


def _types_in(records: Records, map: MapRow) -> list[tuple[int, int]]:
    """Return (count, index of the first) for each type of exception of a map's failed items; nothing where too many."""
    views = records.items(map.id, limit=READ + 1, states=("FAILED",))
    counts = Counter(view.error_type for view in views)
    firsts = {view.error_type: view.index for view in reversed(views)}
    return [] if len(views) > READ else [(times, firsts[type]) for type, times in counts.most_common()]


def _several_failures(count: ReasonCount) -> bool:
    return count.reason == "budget/user" and count.times > 1 and not count.overcome


def _last_reason(records: Records, map: MapRow, index: int) -> str:
    rows = records.attempts(map.id, index)
    return rows[-1].reason if rows else ""


def _group(records: Records, map: MapRow, count: ReasonCount) -> Because:
    rows = records.attempts(map.id, count.first)
    state = "Completed" if count.overcome else rows[-1].state_name or states.NAMES[count.state][0]
    return _because(map, rows[-1], state, count.times)


def of_item(records: Records, map: MapRow, index: int, run: FlowRunRow | None = None) -> Because:
    """Return one run's reason, that of its last attempt that left the happy path."""
    rows = [row for row in records.attempts(map.id, index) if row.state != states.COMPLETED]
    view = next(iter(records.items(map.id, first=index, limit=1)), None)
    if view is None or view.index != index:
        return _unheard_of(map, index, run)
    if not rows and view.state == "Cancelled":
        rows = _cancelled_with(records, map)
        if rows:
            return replace(_because(map, rows[-1], view.state, 1, view.attempt), index=index)
    if not rows:
        word = "budget/worker-lost" if view.attempt > 1 else ""
        return Because(map.task, map.id, index, 1, view.state, word, _sentence(word, {}, view), {}, view.attempt)
    return _because(map, rows[-1], view.state, 1, view.attempt)


def _cancelled_with(records: Records, map: MapRow) -> list[ItemRow]:
    """Return the row of the first item of those that were cancelled together."""
    first = next((c.first for c in records.reasons([map.id]) if c.state == states.CANCELLED), None)
    return [] if first is None else records.attempts(map.id, first)


def _because(map: MapRow, row: ItemRow, state: str, count: int, attempt: int = 0) -> Because:
    word, details = row.reason or "unrecorded", reasons.details_of(row.details)
    text = _sentence(word, details, row)
    if state != (row.state_name or states.NAMES[row.state][0]):  # a later attempt has another state
        text += f"; a later attempt {'completed' if state == 'Completed' else f'is {state}'}"
    return Because(map.task, map.id, row.index, count, state, word, text, details, attempt or row.attempt)


def _sentence(word: str, details: dict[str, Any], row: ItemRow | ItemView) -> str:
    message = row.message.removeprefix("Task run encountered an exception ")
    error = row.error_type
    if error:
        first = message.removeprefix(f"{error}: ").partition("\n")[0]
        error = f"{error}: {first}" if first and first != error else error
    state = row.state if isinstance(row.state, str) else row.state_name
    what = error or message or state
    return reasons.sentence(word, details, attempt=row.attempt, error=what, message=message, state=state)


def _unheard_of(map: MapRow, index: int, run: FlowRunRow | None) -> Because:
    """Return the reason of an item without a record: it has not ended, or never will."""
    if map.length is not None and index >= map.length:
        raise RecordsError(f"{map.task!r} has {map.length:,} runs, from 0 on: there is no {map.task}[{index}]")
    if run is not None and states.is_final(run.state):
        text = reasons.sentence("driver-lost", {})
        return Because(map.task, map.id, index, 1, "Pending", "driver-lost", text, attempt=0)
    driver = f"process {run.pid} on {machine_of(run.host)}" if run is not None and run.pid else "unknown"
    text = reasons.sentence("driver", {"driver": driver}, waits=True)
    return Because(map.task, map.id, index, 1, "Pending", "driver", text, {"driver": driver}, attempt=0)


def _never_ended(records: Records, run: FlowRunRow, maps: Sequence[MapRow]) -> list[Because]:
    """Return a group for each map that a lost driver has left, of its items without a record."""
    found = []
    for map in maps if states.is_final(run.state) else ():
        if map.ended is None and map.length is not None:
            tally = Tally()
            tally.take(records.ended(map.id))
            codes = tally.codes.ljust(map.length, bytes((states.PENDING,)))
            left = codes.count(states.PENDING)
            if left:
                found.append(replace(_unheard_of(map, codes.index(states.PENDING), run), count=left))
    return found


def joined(waiting: Sequence[Because], ended: Explanation) -> Explanation:
    """Join waiting and ended groups into one explanation, the largest groups first."""
    groups = sorted((*waiting, *ended.groups), key=lambda one: -one.count)
    rest = groups[GROUPS:]
    left_out, runs = ended.left_out + len(rest), ended.left_out_runs + sum(one.count for one in rest)
    return Explanation(ended.subject, tuple(groups[:GROUPS]), left_out, runs)
