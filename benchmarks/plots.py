"""Plots of a run as small SVG files: throughput and memory against n, efficiency against the length of a task."""

from __future__ import annotations

import importlib.util
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks import tables
from benchmarks.contests import FAN_OUT
from benchmarks.peers import ROOT
from benchmarks.systems import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.sampling import Journal

FOLDER = ROOT / "docs" / "benchmarks"
MARKS = "os^vD<>pPX*h"
EFFICIENCY = "efficiency_at_"


def fan_out_lines(journal: Journal, figure: str) -> dict[str, dict[float, float]]:
    return {
        name: {float(n): value for n, value in tables.by_size(journal, name, figure).items()}
        for name in tables.taking_part(journal, FAN_OUT)
    }


def efficiency_lines(journal: Journal) -> dict[str, dict[float, float]]:
    """Medians by the length of a task in microseconds, for ours and the raw engines."""
    found: dict[str, dict[float, list[float]]] = {}
    for s in journal.samples:
        kind = s.row.removeprefix("metg_")
        if kind != s.row and (s.side == "ours" or kind in ("dask", "ray")):
            for name, value in s.figures.items():
                if name.startswith(EFFICIENCY):
                    grain = float(name.removeprefix(EFFICIENCY).removesuffix("us"))
                    label = f"ours_{kind}" if s.side == "ours" else kind
                    found.setdefault(label, {}).setdefault(grain, []).append(value)
    return {name: {x: statistics.median(ys) for x, ys in line.items()} for name, line in found.items()}


def draw(lines: dict[str, dict[float, float]], labels: tuple[str, str], log_y: bool, name: str) -> None:
    """Ours thick and coloured, the peers thin and grey: each with a mark of its own."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 8})
    figure, axes = pyplot.subplots(figsize=(7.2, 4.0))
    for system, line in lines.items():
        if not line:
            continue
        number = list(BY_NAME).index(system)  # the same colour and mark in every plot
        mine = system.startswith("ours")
        style: dict[str, Any] = {"color": f"C{number}", "lw": 2} if mine else {"color": str(0.3 + number % 4 * 0.12)}
        xs = sorted(line)
        axes.plot(
            xs, [line[x] for x in xs], marker=MARKS[number % len(MARKS)], ms=4, label=BY_NAME[system].what,
            **({"lw": 0.8} | style),
        )  # fmt: skip
    axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True, which="major", lw=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=7)
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def positive(lines: dict[str, dict[float, float]]) -> dict[str, dict[float, float]]:
    """What a logarithmic axis can show: at least 0.1."""
    return {name: {x: max(y, 0.1) for x, y in line.items()} for name, line in lines.items()}


def section(journal: Journal) -> list[str]:
    """The document's part with the plots; draws them. Without matplotlib there are none, and it says so."""
    wanted: list[tuple[str, str, Callable[[], dict[str, dict[float, float]]], tuple[str, str], bool]] = [
        ("throughput", "Throughput against n", lambda: fan_out_lines(journal, "rate"), ("items", "items/s"), True),
        (
            "memory", "Growth of the driver against n", lambda: positive(fan_out_lines(journal, "driver_mb")),
            ("items", "MB (0.1 and less: 0.1)"), True,
        ),
        (
            "efficiency", "Efficiency against the length of a task", lambda: efficiency_lines(journal),
            ("us a task", "share of the slots' speed"), False,
        ),
    ]  # fmt: skip
    there = [(name, title, labels, log_y, lines) for name, title, get, labels, log_y in wanted if (lines := get())]
    if not there:
        return []
    if importlib.util.find_spec("matplotlib") is None:
        return ["", "No plots: matplotlib is not installed (extra `plots`)."]
    out = ["", "## Plots", ""]
    for name, title, labels, log_y, lines in there:
        draw(lines, labels, log_y, name)
        out += [f"![{title}](benchmarks/{name}.svg)", ""]
    return out[:-1]
