"""Where wall x workers of a run went: shares that add up to all of it.

    wall x slots = calls + around + serialisation + transfer + queue + record + no work + other

What slots spent was noted by chunk (`core/spent.py`). The rest is the time in which no chunk was there: before the
first chunk of a worker, after its last one, and where nothing of the run was to be done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anabranch.core.spent import Spent, both

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.runs import ItemBlock, MapRow


@dataclass(frozen=True, slots=True)
class Share:
    """One part of the time of all slots.

    Attributes:
        seconds: of slots.
        part: of all of it, 1 for all.
    """

    name: str
    seconds: float
    part: float
    meaning: str


MEANINGS = {
    "your code": "inside the items, from the call of the function to its end",
    "between items": "anabranch on the worker: takes items, reads the clock, makes reports",
    "serialisation": "on the worker: chunks unpickled, values pickled, stored and sent",
    "transfer": "a worker had nothing to do, and its next chunk was on the way",
    "queue": "a worker had nothing to do, and items waited in the driver: for the driver, for inputs, for limits",
    "record": "the driver waited until the record was written",
    "no work": "workers that start, that are done before others, or that had nothing to do; no driver, before a resume",
    "other": "what cannot be told apart: lost chunks, clocks that differ",
}


@dataclass(slots=True)
class _Seen:
    """The times that a worker's blocks tell of: Unix seconds, each from the end of the chunk before it.

    Attributes:
        told: seconds that its slots have noted; a worker of several threads notes those of each.
    """

    spans: list[tuple[float, float]] = field(default_factory=list)
    told: float = 0.0

    def seconds(self, start: float, end: float) -> float:
        """Return the seconds of slots of which these times tell, within a run."""
        covered, at = 0.0, start
        for low, high in sorted(self.spans):
            covered += max(0.0, min(high, end) - max(low, at))
            at = max(at, min(high, end))
        return covered * max(1, round(self.told / covered)) if covered else 0.0


def shares_of(maps: Iterable[tuple[MapRow, list[ItemBlock]]], start: float, end: float) -> tuple[int, list[Share]]:
    """Return the slots of a run, and where their time went; nothing where no chunk has noted any.

    Args:
        maps: rows and blocks of all maps of the run.
        start, end: Unix seconds of the run.
    """
    total, seen, slots, recording = None, dict[str, _Seen](), 0, 0.0
    for row, blocks in maps:
        if row.kind == "call":
            continue
        slots, recording = max(slots, row.slots), recording + row.account.get("recording", 0.0)
        for block in blocks:
            if block.spent is not None and any(block.spent):
                nothing = min(block.spent[0], max(0, int((block.base - start) * 1e6)))
                told = (nothing, *block.spent[1:])
                total = told if total is None else both(total, told)
            _look(seen, block, start)
    if total is None:
        return slots, []
    slots = slots or len(seen)
    return slots, _divided(Spent(*total), slots, max(end - start, 1e-6), _outside(seen, slots, start, end), recording)


def _look(seen: dict[str, _Seen], block: ItemBlock, start: float) -> None:
    """Note which time of a worker a block tells of."""
    if not block.worker or block.started is None or block.durations is None or not len(block.started):
        return
    spent = Spent(*(block.spent or ()))
    end = block.base + (block.started[-1] + block.durations[-1] + spent.packing) / 1e6
    told = min(sum(spent) / 1e6, max(0.0, end - start))
    known = seen.setdefault(block.worker, _Seen())
    known.spans.append((min(end - told, block.base + block.started[0] / 1e6), end))
    known.told += told


def _outside(seen: dict[str, _Seen], slots: int, start: float, end: float) -> float:
    """Return the seconds of slots of which no chunk tells: before the first of a worker, after its last one."""
    return max(0.0, slots * (end - start) - sum(one.seconds(start, end) for one in seen.values()))


def _divided(total: Spent, slots: int, wall: float, outside: float, recording: float) -> list[Share]:
    """Return the shares; they add up to 1, or where more was spent than slots had, to more."""
    known = {
        "your code": total.calls / 1e6,
        "between items": total.around / 1e6,
        "serialisation": (total.reading + total.packing) / 1e6,
        "transfer": total.transfer / 1e6,
        "queue": total.queue / 1e6,
    }
    rest = max(0.0, wall * slots - sum(known.values()))
    known["record"] = min(rest, recording * slots)
    rest -= known["record"]
    known["no work"] = min(rest, max(0.0, outside - known["record"]) + total.nothing / 1e6)
    known["other"] = rest - known["no work"]
    all_of_it = wall * slots
    return [Share(name, seconds, seconds / all_of_it, MEANINGS[name]) for name, seconds in known.items()]
