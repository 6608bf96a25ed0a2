"""One driver of a chaos run: begins the run of a seed, or goes on with what the record has of it.

Arguments: kind of runner, seed. The folder of the round is in the environment (work.FOLDER); the flow leaves what it
found in `answer.json` there as the last thing it does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from anabranch import allow_failure, flow, unmapped
from anabranch import session as sessions
from anabranch.core.states import is_success
from tests.chaos import work
from tests.chaos.graphs import Node, add, graph, numbers
from tests.faults.resumed_driver import RUNNERS

FLOW = "chaos"


class Program:
    """The graph by anabranch: one future, list or value for each node."""

    def __init__(self, nodes: list[Node], held: Path) -> None:
        self.nodes = nodes
        self.held = held
        self.made: list[Any] = []
        self.found: dict[int, list[int]] = {}

    def run(self) -> dict[str, list[int]]:
        for at, node in enumerate(self.nodes):
            while at == len(self.nodes) // 2 and self.held.exists():
                time.sleep(0.01)
            self.made.append(self._make(at, node))
            if node.early and node.read:
                self._read(at)
        for at, node in enumerate(self.nodes):
            if node.read and at not in self.found:
                self._read(at)
            elif not node.keep:
                self.made[at].wait()
        return {str(at): self.found[at] for at in sorted(self.found)}

    def _make(self, at: int, node: Node) -> Any:
        spec, options = node.spec, _options(at, node)
        inputs: dict[str, Any] = {f"in{n}": self.made[source] for n, source in enumerate(node.inputs)}
        if node.kind == "map":
            xs = iter(range(node.items)) if node.iterator else range(node.items)
            keep = "values" if node.keep else "none"
            return work.item.with_options(**options).map(xs, spec=spec, keep=keep)
        if node.kind == "chain":
            source = self.made[node.inputs[0]]
            if node.extra is None:
                return work.item.with_options(**options).map(source, spec=spec)
            return work.item_with.with_options(**options).map(source, unmapped(self.made[node.extra]), spec=spec)
        if node.kind == "branches":
            return work.branch.with_options(**options).map(range(node.items), spec=spec)
        if node.kind == "reduce":
            return inputs["in0"].reduce(add, fan_in=node.fan_in)
        if node.kind == "nested":
            return work.nested.with_options(**options).submit(inputs, node.items, spec)
        if node.kind == "late":
            return work.late.with_options(**options).submit(spec)
        if node.kind == "count":
            return work.single.with_options(**options).submit(allow_failure(inputs), spec)
        if node.kind == "call":
            return work.single.with_options(**options)(inputs, spec)
        return work.single.with_options(**options).submit(inputs, spec)

    def _read(self, at: int) -> None:
        node, made = self.nodes[at], self.made[at]
        if node.kind == "call":
            self.found[at] = numbers(made)
        elif node.is_map and node.read == "results":
            self.found[at] = numbers(list(made.results(raise_on_failure=False)))
        else:
            self.found[at] = numbers(made.result(raise_on_failure=False))


def _options(at: int, node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"name": node.name(at), "retries": node.retries}
    if node.persist:
        found["persist_result"] = True
    if node.limited:
        found["timeout_seconds"] = 60.0
    return found


def main(kind: str, seed: str) -> None:
    folder = Path(os.environ[work.FOLDER])
    work.watch()

    def body(seed: int) -> dict[str, list[int]]:
        (folder / "began" / str(os.getpid())).touch()
        found = Program(graph(seed), work.hold(folder)).run()
        (folder / "answer.new").write_text(json.dumps(found))
        (folder / "answer.new").rename(folder / "answer.json")
        return found

    chaos = flow(name=FLOW, resumable=True, runner=RUNNERS[kind]())(body)
    rows = sessions.current().records.flow_runs(flow=FLOW)
    if not rows:
        chaos(int(seed))
    elif not is_success(rows[0].state):
        chaos.resume(rows[0].id)


if __name__ == "__main__":
    main(*sys.argv[1:])
