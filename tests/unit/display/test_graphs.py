"""Tasks in layers behind what they read, and links to dashboards that lead somewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from anabranch.core.task_graphs import TaskNode, graph_of
from anabranch.display import dashboards, graphs
from tests.unit.display.untrusted import lost, plain_text


@dataclass
class Row:
    id: str
    task: str
    kind: str = "map"
    counts: dict[str, int] = field(default_factory=dict)
    upstreams: tuple[str, ...] = ()


# -- tasks of a run ------------------------------------------------------------------------------


def test_maps_of_one_task_are_one_node() -> None:
    rows = [
        Row("1", "load", counts={"Completed": 3}),
        Row("2", "clean", counts={"Completed": 2, "Failed": 1}, upstreams=("1",)),
        Row("3", "load", counts={"Completed": 1, "Cached": 5}, upstreams=("2", "elsewhere")),
        Row("4", "total", "submit", {"Completed": 1}, ("2", "3", "4")),
    ]
    assert graph_of(rows) == (
        TaskNode("load", "map", 2, {"Completed": 4, "Cached": 5}, ("clean",)),
        TaskNode("clean", "map", 1, {"Completed": 2, "Failed": 1}, ("load",)),
        TaskNode("total", "submit", 1, {"Completed": 1}, ("clean", "load", "total")),
    )
    assert graph_of([]) == ()


# -- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upstreams", "expected"),
    [
        ({}, []),
        ({"a": ()}, [["a"]]),
        ({"a": (), "b": ("a",), "c": ("b", "a")}, [["a"], ["b"], ["c"]]),
        ({"c": ("b",), "b": ("a",), "a": ()}, [["a"], ["b"], ["c"]]),
        ({"a": (), "b": (), "c": ("a", "b"), "d": ("a",)}, [["a", "b"], ["d", "c"]]),
        ({"a": ("a", "nowhere")}, [["a"]]),
        ({"a": ("b",), "b": ("a",)}, [["b"], ["a"]]),
        ({"x": (), "y": (), "of y": ("y",), "of x": ("x",)}, [["x", "y"], ["of x", "of y"]]),
    ],
)
def test_each_node_stands_behind_what_it_reads(
    upstreams: dict[str, tuple[str, ...]], expected: list[list[str]]
) -> None:
    assert graphs.layers(upstreams) == expected


def test_a_long_chain_is_laid_out_without_recursion() -> None:
    chain = {str(i): (str(i + 1),) for i in range(5_000)}
    found = graphs.layers({**chain, "5000": ()})
    assert found == [[str(i)] for i in range(5_000, -1, -1)]


def test_rings_keep_all_nodes() -> None:
    ring = {"a": ("d",), "b": ("a",), "c": ("b",), "d": ("c", "a"), "e": ("d",)}
    found = graphs.layers(ring)
    assert sorted(node for layer in found for node in layer) == list("abcde")
    place = {node: number for number, layer in enumerate(found) for node in layer}
    closing = [(node, up) for node, ups in ring.items() for up in ups if place[up] >= place[node]]
    assert closing == [("b", "a"), ("d", "a")], "those that close a ring, as it is entered from the first node"


# -- drawn ---------------------------------------------------------------------------------------


def test_a_graph_is_drawn_with_boxes_and_words() -> None:
    nodes = (
        TaskNode("load <b>", "map", 1, {"Completed": 1700}),
        TaskNode("clean", "map", 3, {"Completed": 1690, "Failed": 10}, ("load <b>",)),
        TaskNode("total", "submit", 1, {"Completed": 2}, ("clean", "load <b>", "total")),
    )
    html = graphs.html(nodes)
    assert lost(html) == []
    assert plain_text(html) == (
        "load <b> 1,700 items 1,700 completed → clean 1,700 items in 3 maps 1,690 completed 10 failed → "
        "total 2 runs reads clean, load <b> and its own runs 2 completed"
    )
    assert graphs.text(nodes) == "load <b> > clean > total"


def test_a_graph_of_many_tasks_is_cut_with_a_sentence() -> None:
    html = graphs.html([TaskNode(f"task {i}", "submit", 1, {"Completed": 1}) for i in range(graphs.MOST + 5)])
    assert plain_text(html).endswith("and 5 more tasks")
    assert html.count("<b>") == graphs.MOST
    assert graphs.html(()) == ""


# -- dashboards ----------------------------------------------------------------------------------

HUB = {"JUPYTERHUB_SERVICE_PREFIX": "/user/ann/"}
FAR = {"SSH_CONNECTION": "10.0.0.1 22 10.0.0.2 22"}


@pytest.mark.parametrize(
    ("address", "environ", "proxied", "expected"),
    [
        ("http://127.0.0.1:8787/status", {}, False, "http://127.0.0.1:8787/status"),
        ("http://127.0.0.1:8787/status", FAR, False, ""),
        ("http://localhost:8787/status", HUB, True, "/user/ann/proxy/8787/status"),
        ("http://0.0.0.0:8265", HUB, True, "/user/ann/proxy/8265/"),
        ("http://[::1]:8787/status", HUB, False, ""),
        ("http://10.1.2.3:8787/status", HUB, True, ""),
        ("http://scheduler:8787/status", HUB, True, ""),
        ("http://10.1.2.3:8787/status", {}, False, "http://10.1.2.3:8787/status"),
        ("http://10.1.2.3:8787/status", FAR, False, "http://10.1.2.3:8787/status"),
        ("https://dask.example.org/status", HUB, False, "https://dask.example.org/status"),
        ("/user/ann/proxy/8787/status", HUB, False, "/user/ann/proxy/8787/status"),
        ("//elsewhere/x", {}, False, ""),
        ("javascript:alert(1)", {}, True, ""),
        ("tcp://10.1.2.3:8786", {}, True, ""),
        ("http://host:notaport/", {}, True, ""),
        ("http://", {}, True, ""),
        ("", {}, True, ""),
    ],
)
def test_a_link_leads_somewhere_or_is_not_shown(
    address: str, environ: dict[str, str], proxied: bool, expected: str
) -> None:
    assert dashboards.link(address, environ, proxied=proxied) == expected
