"""Random task graphs as plain data, and what they come to: no engine here, a few lines of plain Python.

    seed --graph()--> nodes --reference()--> what each node comes to, item by item
                        |
                        +--tests/chaos/driver.py--> the same by anabranch, on a runner, while things break

A value is a number, or 100 kB of bytes; an item that is not to complete has the name of its state instead.
"""

from __future__ import annotations

import math
import random
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

BIG = 100_000
MOD = (1 << 61) - 1
ALWAYS = -1
MAPS = ("map", "chain", "branches")


@dataclass(frozen=True, slots=True)
class Spec:
    """What one task run does; `fails`: how many attempts of a chosen item raise, before one does not."""

    salt: int
    seconds: float = 0.0
    big: bool = False
    fails: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One map, submit, call or reduce; `inputs` are places of nodes before it."""

    kind: str
    spec: Spec
    inputs: tuple[int, ...] = ()
    extra: int | None = None  # a chain: a single run that all its items read
    items: int = 1
    retries: int = 0
    fan_in: int = 8
    keep: bool = True
    persist: bool = False
    iterator: bool = False
    limited: bool = False  # a time limit that nobody comes near
    read: str = ""  # how the flow reads it: result, results, ""
    early: bool = False  # it reads it before it goes on

    def name(self, at: int) -> str:
        """What its task is called in the record."""
        return "add" if self.kind == "reduce" else f"{self.kind}-{at}"

    @property
    def is_map(self) -> bool:
        return self.kind in MAPS


# -- making ----------------------------------------------------------------------------------------


@dataclass
class Maker:
    """Draws one node after another until there are so many task runs."""

    rng: random.Random
    nodes: list[Node] = field(default_factory=list)
    runs: int = 0
    shaky: set[int] = field(default_factory=set)  # nodes of which some items do not complete
    dropped: set[int] = field(default_factory=set)  # nodes whose values nobody keeps

    def add(self, node: Node, runs: int) -> None:
        at = len(self.nodes)
        if node.spec.fails == ALWAYS or (node.kind == "chain" and self.shaky & set(node.inputs)):
            self.shaky.add(at)
        if not node.keep:
            self.dropped.add(at)
        self.nodes.append(node)
        self.runs += runs

    def some(self, wanted: Iterable[int], most: int) -> tuple[int, ...]:
        found = list(wanted)
        return tuple(self.rng.sample(found, min(len(found), self.rng.randint(1, most))))

    def of(self, *, maps: bool | None = None, shaky: bool = False) -> list[int]:
        """Nodes that can be read: maps, single ones (False), or both."""
        return [
            at
            for at, node in enumerate(self.nodes)
            if at not in self.dropped and (maps is None or node.is_map == maps) and (shaky or at not in self.shaky)
        ]

    def spec(self, big: float = 0.15, shaky: float = 0.0, retries: int = 0) -> Spec:
        rng = self.rng
        seconds = rng.choice((0.0, 0.0, 0.0005, 0.001, 0.002, 0.005))
        fails = ALWAYS if rng.random() < shaky else rng.randint(0, retries)
        return Spec(rng.randrange(1 << 32), seconds, rng.random() < big, fails)

    def map(self, room: int) -> None:
        rng, retries = self.rng, self.rng.choice((0, 0, 1, 2, 3))
        spec = self.spec(shaky=0.15, retries=retries)
        items = rng.randint(1, max(1, min(room, 60 if spec.big else room)))
        keep = rng.random() > 0.12
        self.add(
            Node(
                "map", spec, items=items, retries=retries, keep=keep, persist=rng.random() < 0.1,
                iterator=rng.random() < 0.4, limited=rng.random() < 0.15,
                read=rng.choice(("", "result", "results")) if keep else "", early=rng.random() < 0.25,
            ),
            items,
        )  # fmt: skip

    def chain(self, room: int) -> None:
        rng, retries = self.rng, self.rng.choice((0, 0, 1, 2))
        sources = [at for at in self.of(maps=True, shaky=True) if self.nodes[at].items <= room]
        if not sources:
            return self.map(room)
        source = rng.choice(sources)
        singles = self.of(maps=False)
        items = self.nodes[source].items
        self.add(
            Node(
                "chain", self.spec(big=0.1 if items <= 60 else 0.0, shaky=0.08, retries=retries), (source,),
                rng.choice(singles) if singles and rng.random() < 0.3 else None, items, retries,
                persist=rng.random() < 0.1, read=rng.choice(("", "", "result", "results")), early=rng.random() < 0.2,
            ),
            items,
        )  # fmt: skip
        return None

    def single(self, kind: str) -> None:
        inputs = self.some(self.of(), 4)
        retries = self.rng.choice((0, 0, 1, 2)) if kind == "submit" else 0
        persist = self.rng.random() < 0.15
        self.add(
            Node(kind, self.spec(retries=retries), inputs, retries=retries, persist=persist, read="result",
                 early=self.rng.random() < 0.3), 1,
        )  # fmt: skip

    def submits(self, room: int) -> None:
        for _ in range(min(room, self.rng.randint(1, 12))):
            self.single("submit")

    def call(self, room: int) -> None:
        self.single("call")

    def reduce(self, room: int) -> None:
        sources = [at for at in self.of(maps=True) if not self.nodes[at].spec.big]
        if sources:
            at = self.rng.choice(sources)
            fan_in = self.rng.choice((2, 4, 8, 64))
            self.add(Node("reduce", self.spec(), (at,), fan_in=fan_in, read="result"), self.nodes[at].items // fan_in)

    def count(self, room: int) -> None:
        inputs = self.some(sorted(self.shaky - self.dropped) or self.of(), 3)
        self.add(Node("count", self.spec(), inputs, read="result", early=self.rng.random() < 0.3), 1)

    def nested(self, room: int) -> None:
        items = self.rng.randint(1, max(1, min(room, 40)))
        self.add(Node("nested", self.spec(), self.some(self.of(), 2), items=items, read="result"), items + 2)

    def branches(self, room: int) -> None:
        items = self.rng.randint(1, 6)
        self.add(Node("branches", self.spec(big=0.0), items=items, read="result"), items * 4)

    def late(self, room: int) -> None:
        self.add(Node("late", Spec(self.rng.randrange(1 << 32), 15.0, fails=ALWAYS)), 1)


WEIGHTS = {
    "map": 6, "chain": 7, "submits": 3, "call": 1, "reduce": 2, "count": 2, "nested": 2, "branches": 1, "late": 0.5,
}  # fmt: skip


def graph(seed: int) -> list[Node]:
    """The graph of a seed: 200 to 3,000 task runs."""
    rng = random.Random(f"graph {seed}")
    maker = Maker(rng)
    target = int(math.exp(rng.uniform(math.log(200), math.log(2500))))
    maker.map(target // 3)
    maker.single("submit") if 0 not in maker.shaky | maker.dropped else maker.map(target // 3)
    while maker.runs < target:
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if kind in ("submits", "call", "nested") and not maker.of():
            continue
        getattr(maker, kind)(max(1, min(target // 3, target - maker.runs)))
    return maker.nodes


# -- what it comes to ------------------------------------------------------------------------------


def number(value: Any) -> int:
    """A value as one number, whatever it is made of; what did not complete counts as 1."""
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return zlib.crc32(value)
    if isinstance(value, Mapping):
        return number(list(value.values()))
    if isinstance(value, (list, tuple)):
        found = len(value) + 7
        for one in value:
            found = (found * 1_000_003 + number(one)) % MOD
        return found
    return 1


def step(spec: Spec, *values: Any) -> int | bytes:
    """What a task run returns."""
    found = (spec.salt * 2_654_435_761 + number(values)) % MOD
    return found.to_bytes(8, "little") * (BIG // 8) if spec.big else found


def add(a: int, b: int) -> int:
    return (a + b) % MOD


def failing_attempts(spec: Spec, *values: Any) -> int:
    """How many attempts of this run raise; ALWAYS: all of them."""
    return spec.fails if spec.fails and (spec.salt + number(values)) % 5 == 0 else 0


def item_of(spec: Spec, *values: Any) -> int | bytes | str:
    if any(isinstance(value, str) for value in values):
        return "TriggerFailed"
    return "Failed" if failing_attempts(spec, *values) == ALWAYS else step(spec, *values)


def leaves(spec: Spec, items: int, start: int) -> list[int]:
    """What a nested map comes to, its leaves being small."""
    return [number(step(Spec(spec.salt + 1), start + n)) for n in range(items)]


def reference(nodes: list[Node]) -> list[Any]:
    """What each node comes to: a list for a map, one value for another."""
    found: list[Any] = []
    for node in nodes:
        spec, inputs = node.spec, [found[at] for at in node.inputs]
        if node.kind == "map":
            found.append([item_of(spec, x) for x in range(node.items)])
        elif node.kind == "chain":
            more = () if node.extra is None else (found[node.extra],)
            found.append([item_of(spec, x, *more) for x in inputs[0]])
        elif node.kind == "branches":
            found.append([step(spec, leaves(spec, 3, x)) for x in range(node.items)])
        elif node.kind == "nested":
            found.append(step(spec, inputs, leaves(spec, node.items, 0), step(spec, node.items)))
        elif node.kind == "reduce":
            found.append(sum(map(number, inputs[0])) % MOD)
        elif node.kind == "late":
            found.append("TimedOut")
        else:
            found.append(step(spec, inputs))
    return found


def numbers(value: Any) -> list[int]:
    """A node's values as numbers, one for each item of a map."""
    return [number(one) for one in value] if isinstance(value, list) else [number(value)]


def answer(nodes: list[Node], found: list[Any]) -> dict[str, list[int]]:
    """What the flow returns of it: numbers for each node that it reads."""
    return {str(at): numbers(found[at]) for at, node in enumerate(nodes) if node.read}


def of_failures(nodes: list[Node]) -> set[str]:
    """Names of nodes that are made of a failure, however far away: a resumed run makes them anew."""
    found: set[int] = set()
    for at, node in enumerate(nodes):
        if node.spec.fails == ALWAYS or found.intersection({*node.inputs, node.extra}):
            found.add(at)
    return {nodes[at].name(at) for at in found}


def states(value: Any) -> Counter[str]:
    """How many items of a node end in which state."""
    values = value if isinstance(value, list) else [value]
    return Counter(one if isinstance(one, str) else "Completed" for one in values)
