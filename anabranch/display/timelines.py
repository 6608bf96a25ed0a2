"""The time of a run as pictures (SVG): its maps with what waits and what runs, its workers with what they run.

    a map      ////////////______      share of its items that have not begun (hatched)
               ▂▅█████████▇▃           items that run at once, against all slots
                   x  x                attempts that failed for good, by when they began
    a worker   █████ ███████▆▂         share of each moment in which it ran items; single runs where they are few

Waiting and running stand apart in each row. A picture has as many marks as cells, whatever the number of items.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from anabranch.display import strips, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.display.item_times import Axis
    from anabranch.display.run_figures import Lane, MapFigures, Mark

WIDTH, LEFT, RIGHT = 960, 190, 20
SPAN = WIDTH - LEFT - RIGHT
TOP = 24  # of the axis
LEVELS = 16  # of a height: cells that differ less are one
WAIT, RUN = 7, 16  # pixels of a map's two bands
MAP_ROW, LANE_ROW = WAIT + RUN + 11, 18
LANE = 13
NARROW = 1.5  # pixels of a mark at least
MOST_MAPS = 40
MOST_CROSSES = 80  # cells with failures; more have a stroke each


def maps_svg(maps: Sequence[MapFigures], axis: Axis, slots: int) -> str:
    """Return the rows of maps."""
    shown = maps[:MOST_MAPS]
    parts = [_axis(axis, len(shown) * MAP_ROW)]
    for number, one in enumerate(shown):
        parts.append(_map_row(one, axis, slots, TOP + number * MAP_ROW))
    return _svg("Maps over time: items that wait, items that run, attempts that failed", len(shown) * MAP_ROW, parts)


def lanes_svg(lanes: Sequence[Lane], marks: Sequence[Mark], axis: Axis) -> str:
    """Return the rows of workers: each run by itself where `marks` has them, else shares of time."""
    parts = [_axis(axis, len(lanes) * LANE_ROW)]
    for number, lane in enumerate(lanes):
        y = TOP + number * LANE_ROW
        many = f" ({lane.workers} workers)" if lane.workers > 1 else ""
        said = ", ".join(f"{name} {units.count(n)}" for name, n in lane.tasks.most_common(5))
        parts.append(_label(lane.name + many, y + LANE - 2, said))
        parts.append(f'<rect class="lane" x="{LEFT}" y="{y}" width="{SPAN}" height="{LANE}"/>')
        if not marks:
            heights = [min(1.0, seconds / (axis.width * lane.slots)) for seconds in lane.busy.seconds]
            parts.append(_area(heights, y + LANE, LANE, "run"))
    parts += [_mark(mark, axis) for mark in sorted(marks, key=lambda mark: mark.start)]
    return _svg("Workers over time: when each ran items", len(lanes) * LANE_ROW, parts)


def _map_row(one: MapFigures, axis: Axis, slots: int, y: int) -> str:
    total = len(one.codes)
    said = f"{one.row.kind}, {units.count(total)} item{'s' if total != 1 else ''}: {strips.told(one.counts)}"
    parts = [_label(one.label, y + WAIT + 8, said)]
    waits = _waiting(one, axis)
    if waits:
        parts.append(_area(waits, y + WAIT, WAIT, "wait"))
    runs = [min(1.0, seconds / (axis.width * max(1, slots))) for seconds in one.busy.seconds]
    parts.append(f'<path class="line" d="M{LEFT} {y + WAIT + RUN + 1}h{SPAN}"/>')
    parts.append(_area(runs, y + WAIT + RUN, RUN, "run"))
    at = [LEFT + (cell + 0.5) * SPAN / axis.cells for cell, n in enumerate(one.fails) if n]
    sign = "l4 4m0-4l-4 4" if len(at) <= MOST_CROSSES else "v4"
    crosses = "".join(f"M{x - 2 if len(at) <= MOST_CROSSES else x:.1f} {y + WAIT + RUN + 3}{sign}" for x in at)
    if crosses:
        parts.append(f'<path class="fail" d="{crosses}"/>')
    return "".join(parts)


def _waiting(one: MapFigures, axis: Axis) -> list[float]:
    """Return the share of a map's items that exist and have not begun, in each cell; a series' items are not dated."""
    total = len(one.codes)
    if not total or one.busy.first is None or one.row.kind == "call":
        return []
    known = sum(one.busy.begun)
    first, found, begun = axis.cell(one.row.created or axis.start), [0.0] * axis.cells, 0
    last = axis.cell(one.busy.last or axis.start)
    for cell in range(axis.cells):
        if first <= cell <= last:
            found[cell] = max(0.0, known - begun) / known if known else 0.0
        begun += one.busy.begun[cell]
    return found


def _area(heights: Sequence[float], base: float, tall: float, kind: str) -> str:
    """Return an area over a base line, in steps; nothing where all is zero."""
    steps: list[tuple[int, int]] = []  # first cell, level
    for cell, height in enumerate(heights):
        level = 0 if height <= 0 else max(1, round(height * LEVELS))
        if not steps or steps[-1][1] != level:
            steps.append((cell, level))
    if steps in ([], [(0, 0)]):
        return ""
    wide = SPAN / len(heights)
    d = f"M{LEFT} {base:g}"
    for cell, level in steps:
        d += f"H{LEFT + cell * wide:.1f}V{base - tall * level / LEVELS:.1f}"
    return f'<path class="{kind}" d="{d}H{LEFT + SPAN}V{base:g}Z"/>'


def _mark(mark: Mark, axis: Axis) -> str:
    scale = SPAN / axis.seconds
    x, wide = LEFT + (mark.start - axis.start) * scale, max(NARROW, mark.seconds * scale)
    y = TOP + mark.lane * LANE_ROW
    title = f"<title>{escape(mark.text)}, {units.duration(mark.seconds)}</title>"
    cross = ""
    if mark.kind > strips.BAD and wide >= 5:
        cross = f'<path class="cross" d="M{x + wide / 2 - 3:.1f} {y + 3}l6 7m0-7l-6 7"/>'
    box = f'<rect class="k{mark.kind}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{LANE}"/>'
    return f'<g class="mark">{title}{box}{cross}</g>'


def _axis(axis: Axis, height: int) -> str:
    parts = []
    step = nice_step(axis.seconds)
    for number in range(math.ceil(axis.begin / step - 1e-9), int((axis.begin + axis.seconds) / step + 1e-9) + 1):
        x = LEFT + (number * step - axis.begin) * SPAN / axis.seconds
        parts.append(f'<path class="tick" d="M{x:.1f} {TOP - 6}V{TOP + height}"/>')
        text = _time(number * step, step)
        parts.append(f'<text class="t" x="{x:.1f}" y="{TOP - 10}" text-anchor="middle">{text}</text>')
    return "".join(parts)


def nice_step(seconds: float, most: int = 8) -> float:
    """Return a step of 1, 2 or 5 of some unit, so that at most `most` steps lie within so many seconds."""
    for step in (*(base * 10.0**power for power in range(-6, 1) for base in (1, 2, 5)), 15.0, 30.0, 60.0, 120.0, 300.0,
                 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0):  # fmt: skip
        if seconds / step <= most:
            return step
    return 86400.0 * math.ceil(seconds / 86400.0 / most)


def _time(seconds: float, step: float) -> str:
    if step < 0.1 and seconds >= 1:
        return f"{seconds:.{math.ceil(-math.log10(step) - 1e-9)}f} s"
    if step < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if step < 0.1:
        return f"{seconds * 1e3:.0f} ms"
    if step < 1:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if step < 60 else units.clock(seconds)


def _label(text: str, y: float, title: str) -> str:
    cut = text if len(text) <= 28 else f"{text[:27]}…"
    said = f"<title>{escape(f'{text}: {title}')}</title>"
    return f'<text x="{LEFT - 8}" y="{y:g}" text-anchor="end">{escape(cut)}{said}</text>'


def _svg(label: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg class="time" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {TOP + height + 4}" '
        f'width="{WIDTH}">{"".join(parts)}</svg>'
    )
