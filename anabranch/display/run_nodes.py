"""The nodes of a run's graph: its maps, and its single runs, by themselves or in groups where they are many.

    load[0] -> clean[0] \\
    load[1] -> clean[1]  > total        100 of each: load x 100 -> clean x 100 -> total
    load[2] -> clean[2] /

Single runs with the same way behind them are one group; if that leaves too many, those at the same depth; then all of a
task. Groups that each read the one before, and nothing else, are a chain and become one node.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anabranch.core import item_reads
from anabranch.display import graphs, strips, units
from anabranch.display.graphs import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anabranch.core.runs import MapRow, Records

BOXES, COLUMNS, ROWS = 60, 24, 30  # what a picture has at most before its runs are grouped, or grouped further
POINTS = 20_000  # single runs of a flow run; more are drawn by their tasks alone

Point = tuple[str, int]  # a map or series, and one of its runs; `_ALL` of them
_ALL = -1


@dataclass(slots=True)
class Series:
    """One map, or one series of single runs.

    Attributes:
        codes: the states of its items; empty where nobody asks for counts.
        reads: by run, (map, index there or None for all); of a map at 0, for all its items; None: not known.
    """

    row: MapRow
    label: str
    total: int
    codes: bytes | bytearray = b""
    reads: Mapping[int, Sequence[tuple[str, int | None]]] | None = None


def labels_of(rows: Sequence[MapRow]) -> dict[str, str]:
    """Return a name for each map: the task's, with "#2" for its second map."""
    seen: Counter[str] = Counter()
    found = {}
    for row in rows:
        seen[row.task] += 1
        found[row.id] = row.task if seen[row.task] == 1 else f"{row.task}#{seen[row.task]}"
    return found


def reads_of(records: Records, row: MapRow) -> Mapping[int, Sequence[tuple[str, int | None]]] | None:
    """Return what the record has of the reads of single runs, or of a whole map."""
    return item_reads.found(records.stored(row.id, item_reads.KIND)) if row.kind in ("submit", "map") else None


def nodes_of(found: Sequence[Series]) -> list[Node]:
    """Return the nodes, in the order of their first runs: as many as a picture can show, where that can be done."""
    apart = _taken_apart(found)
    whole = {one.row.id: _Group(one, [_ALL]) for one in found if one.row.id not in apart}
    points = _upstreams(found, apart)
    for split in (_each, _by_way, _by_depth) if apart else ():
        groups = _grouped(found, apart, whole, points, split(points))
        for candidate in (groups, _chained(groups)):
            if _fits(candidate.upstreams):
                return candidate.nodes()
    return _by_task(found)


def _fits(upstreams: Mapping[str, Sequence[str]]) -> bool:
    if len(upstreams) > BOXES:
        return False
    columns = graphs.layers(upstreams)
    return len(columns) <= COLUMNS and max(map(len, columns)) <= ROWS


def lines(nodes: Sequence[Node]) -> list[tuple[str, str, str]]:
    """Return (name, what, names of the nodes that it reads) of each node."""
    names = {node.id: node.name for node in nodes}
    return [(node.name, node.what, ", ".join(names[up] for up in node.upstreams if up != node.id)) for node in nodes]


# -- single runs -----------------------------------------------------------------------------------


def _taken_apart(found: Sequence[Series]) -> dict[str, Series]:
    """Return the series of which single runs may be nodes: what each reads is known, and some read or are read."""
    singles = [one for one in found if one.row.kind == "submit" and 0 < one.total <= item_reads.MOST]
    known = {one.row.id: one for one in singles if one.reads is not None}
    linked = {id for id, one in known.items() if one.reads}
    told = (read for one in found for reads in (one.reads or {}).values() for read in reads)
    linked |= {map for map, at in told if at is not None}
    apart = {id: one for id, one in known.items() if id in linked}
    return apart if sum(one.total for one in apart.values()) <= POINTS else {}


def _upstreams(found: Sequence[Series], apart: Mapping[str, Series]) -> dict[Point, list[Point]]:
    """Return what each node of the finest graph reads."""
    known = {one.row.id for one in found}

    def points(map: str, at: int | None) -> Iterable[Point]:
        if map not in known:  # of another flow run
            return ()
        if map not in apart:
            return ((map, _ALL),)
        total = apart[map].total  # of a run that goes on the record has less than what is read there
        return ((map, index) for index in (range(total) if at is None else range(at, min(at + 1, total))))

    read: dict[Point, list[Point]] = {}
    for one in found:
        id = one.row.id
        if id not in apart:
            told = list((one.reads or {}).get(0, ())) if one.row.kind == "map" else []
            rest = [(up, None) for up in one.row.upstreams if up not in {map for map, _ in told}]
            read[id, _ALL] = [point for map, at in (*told, *rest) for point in points(map, at)]
            continue
        for index in range(one.total):
            reads = (one.reads or {}).get(index, ())
            read[id, index] = list(dict.fromkeys(point for map, at in reads for point in points(map, at)))
    return read


# -- which runs belong together --------------------------------------------------------------------


def _each(read: Mapping[Point, Sequence[Point]]) -> dict[Point, object]:
    return {point: point for point in read}


def _by_way(read: Mapping[Point, Sequence[Point]]) -> dict[Point, object]:
    """Group runs of a series that read the same kinds of runs, which read the same kinds in turn."""
    known: dict[object, int] = {}
    found: dict[Point, object] = {}
    for point in graphs.ordered(read):
        way = (point[0], frozenset(found[up] for up in read[point] if up in found))
        found[point] = known.setdefault(way, len(known))
    return found


def _by_depth(read: Mapping[Point, Sequence[Point]]) -> dict[Point, object]:
    """Group runs of a series that stand behind equally many others."""
    depth: dict[Point, int] = {}
    for point in graphs.ordered(read):
        depth[point] = 1 + max((depth[up] for up in read[point] if up in depth), default=-1)
    return {point: (point[0], deep) for point, deep in depth.items()}


@dataclass(slots=True)
class _Group:
    """Runs of one series that are one node.

    Attributes:
        steps: how many of them stand in line in each chain.
        links: how often they read; `sources`: what.
    """

    series: Series
    runs: list[int]
    steps: int = 1
    links: int = 0
    sources: set[Point] = field(default_factory=set)

    @property
    def one_to_one(self) -> bool:
        """Whether each run reads one of its own."""
        return self.links == len(self.sources) == len(self.runs)

    def node(self, id: str, upstreams: tuple[str, ...]) -> Node:
        one, many = self.series, len(self.runs)
        if self.runs == [_ALL]:
            return _whole(one, id, upstreams)
        name = one.label if many == one.total else f"{one.label}[{_span(sorted(self.runs))}]"
        what = f"{units.count(many)} runs" if many > 1 else "1 run"
        if self.steps > 1:
            chains = many // self.steps
            what += ", a chain" if chains == 1 else f", {units.count(chains)} chains"
        codes = bytes(one.codes[run] for run in self.runs if run < len(one.codes))
        return Node(id, name, what, strips.totals(strips.kinds_of(codes)), upstreams)


def _span(runs: Sequence[int]) -> str:
    first, last = runs[0], runs[-1]
    if first == last:
        return str(first)
    return f"{first}-{last}" if last - first + 1 == len(runs) else f"{first}…{last}"


@dataclass(slots=True)
class _Graph:
    groups: dict[str, _Group]
    upstreams: dict[str, tuple[str, ...]]

    def nodes(self) -> list[Node]:
        return [group.node(id, self.upstreams[id]) for id, group in self.groups.items()]


def _grouped(
    found: Sequence[Series], apart: Mapping[str, Series], whole: Mapping[str, _Group],
    read: Mapping[Point, Sequence[Point]], place: Mapping[Point, object],
) -> _Graph:  # fmt: skip
    groups: dict[str, _Group] = {}
    names: dict[object, str] = {}
    for one in found:
        id = one.row.id
        if id not in apart:
            groups[id] = whole[id]
            names[place[id, _ALL]] = id
            continue
        for index in range(one.total):
            name = names.setdefault(place[id, index], f"{id}/{index}")
            groups.setdefault(name, _Group(one, [])).runs.append(index)
    ups: dict[str, dict[str, None]] = {name: {} for name in groups}
    for point, reads in read.items():
        name = names[place[point]]
        ups[name].update((names[place[up]], None) for up in reads)
        groups[name].links += len(reads)
        groups[name].sources.update(reads)
    return _Graph(groups, {name: tuple(read) for name, read in ups.items()})


def _chained(graph: _Graph) -> _Graph:
    """Make one node of groups of a series that follow each other with nothing beside."""
    readers: defaultdict[str, list[str]] = defaultdict(list)
    for name, read in graph.upstreams.items():
        for up in read:
            readers[up].append(name)
    groups, ups = dict(graph.groups), dict(graph.upstreams)
    head: dict[str, str] = {}
    for name, group in graph.groups.items():  # in the order of first runs: what is read stands before its readers
        before = ups[name][0] if len(ups[name]) == 1 else name
        first = head.get(before, before)
        here = groups[first]
        if first == name or group.series is not here.series or readers[before] != [name] or not group.one_to_one:
            continue
        if len(group.runs) * here.steps != len(here.runs):
            continue
        groups[first] = _Group(here.series, here.runs + group.runs, here.steps + 1, here.links, here.sources)
        head[name] = first
        del groups[name], ups[name]
    led = {name: dict.fromkeys(head.get(up, up) for up in found) for name, found in ups.items()}
    return _Graph(groups, {name: tuple(found) for name, found in led.items()})


# -- whole series ----------------------------------------------------------------------------------


def _by_task(found: Sequence[Series]) -> list[Node]:
    known = {one.row.id for one in found}
    return [_whole(one, one.row.id, tuple(up for up in one.row.upstreams if up in known)) for one in found]


def _whole(one: Series, id: str, upstreams: tuple[str, ...]) -> Node:
    count = units.count(one.total)
    what = f"map of {count}" if one.row.kind == "map" else f"{count} {_RUNS.get(one.row.kind, 'run')}"
    if one.row.kind != "map" and one.total != 1:
        what += "s"
    if id in upstreams:
        what += ", linked"
    return Node(id, one.label, what, strips.totals(strips.kinds_of(one.codes)), upstreams)


_RUNS = {"call": "call", "flow": "subflow"}
