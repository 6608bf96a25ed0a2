"""The nodes of a run's graph: which single runs stand by themselves, and which are grouped."""

from __future__ import annotations

from anabranch.core.runs import MapRow
from anabranch.core.states import COMPLETED, FAILED
from anabranch.display import run_nodes
from anabranch.display.run_nodes import Series, nodes_of

Reads = dict[int, list[tuple[str, int | None]]]


def series(task: str, total: int, reads: Reads | None = None, kind: str = "submit") -> Series:
    ups = tuple(dict.fromkeys(map for found in (reads or {}).values() for map, _ in found))
    row = MapRow(task, "run", task, kind, total, upstreams=ups)
    known = {} if reads is None and kind == "submit" else reads
    return Series(row, task, total, bytes([COMPLETED]) * total, known)


def told(*found: Series) -> list[tuple[str, str, str]]:
    return run_nodes.lines(nodes_of(found))


def one_each(map: str, count: int) -> Reads:
    return {index: [(map, index)] for index in range(count)}


def test_few_single_runs_are_a_node_each() -> None:
    total: Reads = {0: [("clean", 0), ("clean", 1)]}
    assert told(series("load", 2), series("clean", 2, one_each("load", 2)), series("total", 1, total)) == [
        ("load[0]", "1 run", ""), ("load[1]", "1 run", ""), ("clean[0]", "1 run", "load[0]"),
        ("clean[1]", "1 run", "load[1]"), ("total", "1 run", "clean[0], clean[1]"),
    ]  # fmt: skip


def test_a_run_that_goes_on_is_read_before_the_record_has_it() -> None:
    for known in (0, 1):
        found = told(series("load", known), series("work", 9, {0: [("load", 3)]}, "map"))
        assert [name for name, _, _ in found] == ["load", "work"]


def test_many_with_the_same_way_behind_them_are_one_node() -> None:
    total: Reads = {0: [("clean", index) for index in range(100)]}
    clean = series("clean", 100, one_each("load", 100))
    clean.codes = bytes([COMPLETED] * 99 + [FAILED])
    found = nodes_of([series("load", 100), clean, series("total", 1, total)])
    assert run_nodes.lines(found) == [
        ("load", "100 runs", ""), ("clean", "100 runs", "load"), ("total", "1 run", "clean"),
    ]  # fmt: skip
    assert (found[1].counts[0], found[1].counts[-1]) == (99, 1)


def test_a_long_chain_is_one_node_and_so_are_many_chains_side_by_side() -> None:
    chain: Reads = {0: [("load", 0)], **{n: [("step", n - 1)] for n in range(1, 200)}}
    assert told(series("load", 1), series("step", 200, chain)) == [
        ("load", "1 run", ""), ("step", "200 runs, a chain", "load"),
    ]  # fmt: skip
    beside: Reads = {n: [("load", n) if n < 100 else ("step", n - 100)] for n in range(4_000)}
    assert told(series("load", 100), series("step", 4_000, beside))[1] == ("step", "4,000 runs, 100 chains", "load")


def test_levels_that_are_wholly_connected_are_no_chains() -> None:
    read: Reads = {n: [("step", up) for up in range(n // 40 * 40 - 40, n // 40 * 40)] for n in range(40, 120)}
    assert told(series("step", 120, read)) == [
        ("step[0-39]", "40 runs", ""), ("step[40-79]", "40 runs", "step[0-39]"),
        ("step[80-119]", "40 runs", "step[40-79]"),
    ]  # fmt: skip


def test_a_tree_is_a_node_a_level() -> None:
    read: Reads = {n: [("load", 2 * n), ("load", 2 * n + 1)] for n in range(64)}
    first, place = 0, 64
    while place < 127:
        read |= {place + n: [("add", first + 2 * n), ("add", first + 2 * n + 1)] for n in range((place - first) // 2)}
        first, place = place, place + (place - first) // 2
    names = [name for name, _, _ in told(series("load", 128), series("add", 127, read))]
    assert names == [
        "load", "add[0-63]", "add[64-95]", "add[96-111]", "add[112-119]", "add[120-123]", "add[124-125]", "add[126]",
    ]  # fmt: skip


def test_irregular_runs_are_grouped_by_depth() -> None:
    read: Reads = {n: [("step", (n * 7919) % n), ("step", n // 2)] for n in range(1, 300)}
    found = nodes_of([series("step", 300, read)])
    assert 5 < len(found) <= run_nodes.BOXES
    assert sum(sum(node.counts) for node in found) == 300


def test_runs_that_read_maps_and_maps_that_read_runs() -> None:
    total: Reads = {0: [("load", 3)], 1: [("add", None)]}
    gated = series("add", 5, {0: [("total", 0)]}, kind="map")
    assert told(series("load", 50, kind="map"), series("total", 2, total), gated) == [
        ("load", "map of 50", ""), ("total[0]", "1 run", "load"), ("total[1]", "1 run", "add"),
        ("add", "map of 5", "total[0]"),
    ]  # fmt: skip


def test_a_series_of_which_not_all_is_known_is_one_node() -> None:
    row = MapRow("step", "run", "step", "submit", 20_000, upstreams=("load", "step", "gone"))
    assert told(series("load", 9), Series(row, "step", 20_000)) == [
        ("load", "9 runs", ""), ("step", "20,000 runs, linked", "load"),
    ]  # fmt: skip


def test_runs_that_read_nothing_are_one_node_of_their_task() -> None:
    assert told(series("load", 5), series("other", 7)) == [("load", "5 runs", ""), ("other", "7 runs", "")]
