"""The tasks of a run in its report: the states of their items as a strip, their durations, and their values."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from anabranch.display import durations, strips, timelines, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.display.durations import Durations
    from anabranch.display.run_figures import MapFigures, RunFigures

MAPS = 12  # with a strip and durations,
OPENED = 3  # of which these are open
STRIP_CELLS = 960
QUANTILES = ("least", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "most")  # in the order of durations.QUANTILES
HEIGHT = 110  # of a histogram


def legend(counts: Sequence[int]) -> str:
    """Return swatches with counts and words."""
    parts = [
        f'<span><img alt="" src="{strips.data_uri(strips.swatch(kind))}">{n:,} {strips.KINDS[kind].word}</span>'
        for kind, n in enumerate(counts) if n
    ]  # fmt: skip
    return f'<div class="legend">{"".join(parts)}</div>'


def maps(figures: RunFigures) -> str:
    shown = sorted(figures.maps, key=lambda one: -len(one.codes))[:MAPS]
    parts = ["<h2>Tasks</h2>" if shown else ""]
    single = [one for one in figures.maps if len(one.codes) == 1]
    several = [one for one in figures.maps if one in shown and len(one.codes) > 1]
    parts += [_one_map(one, opened=number < OPENED) for number, one in enumerate(several)]
    if single and len(figures.maps) <= MAPS:
        parts += ["<h3>Tasks with one run</h3><ul>", *(f"<li>{_one_run(one)}</li>" for one in single), "</ul>"]
    if len(figures.maps) > MAPS:
        parts.append(f'<p class="faint">The {MAPS} with the most runs of {len(figures.maps):,} are shown.</p>')
    return "".join(parts)


def _one_run(one: MapFigures) -> str:
    """Return a task that ran once."""
    slow = one.durations.slowest
    took = f", {short(slow[0][0])} on {slow[0][2] or 'its worker'}" if slow else ""
    return escape(f"{one.label}: {strips.KINDS[strips.kinds_of(one.codes)[0]].word}{took}")


def _one_map(one: MapFigures, *, opened: bool) -> str:
    total = len(one.codes)
    again = f", {one.again:,} with more than one attempt" if one.again else ""
    said = f"{one.row.kind}, {total:,} run{'s' if total != 1 else ''}{again}"
    if one.busy.first is not None and one.busy.last is not None and one.row.created:
        said += f"; first begun {short(max(0.0, one.busy.first - one.row.created))} after it was made"
    cells = strips.cells(strips.kinds_of(one.codes), STRIP_CELLS)
    each = total / len(cells) if cells else 0
    told = strips.told(one.counts)
    picture = strips.data_uri(strips.drawn(cells, width=STRIP_CELLS))
    data = escape(json.dumps(cells, separators=(",", ":")))
    merged = f'<p class="faint">Items from left to right, {each:,.0f} in a cell.</p>' if each > 1 else ""
    return (
        f'<h3>{escape(one.label)}</h3><p class="faint">{escape(said)}</p><div class="strip" data-items="{total}" '
        f'data-cells="{data}"><img alt="{escape(told)}" src="{picture}"></div>{legend(one.counts)}{merged}'
        f"{_durations(one.durations, opened=opened)}"
    )


def _durations(found: Durations, *, opened: bool) -> str:
    if not found.spreads:
        return ""
    rows = "".join(
        f'<tr><td>{escape(strips.KINDS[spread.kind].word)}</td><td class="n">{spread.count:,}</td>'
        + "".join(f'<td class="n">{short(seconds)}</td>' for seconds in spread.quantiles) + "</tr>"
        for spread in found.spreads
    )  # fmt: skip
    heads = "".join(f'<th class="n">{name}</th>' for name in QUANTILES)
    slow = ", ".join(f"{index:,} ({short(seconds)})" for seconds, index, _ in found.slowest)
    first = '<th>attempts</th><th class="n">number</th>'
    table = f"<table><thead><tr>{first}{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return (
        f"<details{' open' if opened else ''}><summary>How long they took</summary>{histogram(found)}"
        f'<div class="wide">{table}</div></details>'
        f"<details><summary>The {len(found.slowest)} slowest items</summary><p>{slow}</p></details>"
    )


def histogram(found: Durations) -> str:
    """Return the durations in bins of equal ratio: a bar stands for its share of the tallest bin, each kind on top."""
    wide, parts = 960 / durations.BINS, []
    tallest = max(sum(heights) for heights in zip(*(one.heights for one in found.spreads), strict=True)) or 1
    for number in range(durations.BINS):
        y = float(HEIGHT)
        low, high = found.edge(number), found.edge(number + 1)
        said = f"{short(low)} to {short(high)}"
        for spread in found.spreads:
            count = spread.heights[number]
            if count:
                tall = max(1.5, HEIGHT * count / tallest)
                y -= tall
                title = f"<title>{escape(f'{said}: {count:,} {strips.KINDS[spread.kind].word}')}</title>"
                place = f'x="{number * wide:.1f}" y="{max(0, y):.1f}" width="{wide - 1:.1f}" height="{tall:.1f}"'
                parts.append(f'<rect class="k{spread.kind}" {place}>{title}</rect>')
    ticks = "".join(
        f'<text class="t" x="{min(number * wide, 955):.0f}" y="{HEIGHT + 14}" text-anchor="{_anchor(number)}">'
        f"{short(found.edge(number))}</text>"
        for number in range(0, durations.BINS + 1, 10)
    )  # fmt: skip
    label = f"Durations from {short(found.low)} to {short(found.high)}, on a logarithmic axis"
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 -4 960 {HEIGHT + 22}" width="960"><path class="line" '
        f'd="M0 {HEIGHT}.5H960"/>{"".join(parts)}{ticks}</svg>'
    )


def _anchor(number: int) -> str:
    return "start" if number == 0 else "end" if number == durations.BINS else "middle"


def short(seconds: float) -> str:
    """Return ``12 µs``, ``3.1 ms``, ``0.31 s``, ``3:07``."""
    if not seconds:
        return "0 s"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs" if seconds >= 5e-7 else "under 1 µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return units.duration(seconds)


# -- memory ----------------------------------------------------------------------------------------


def memory(figures: RunFigures) -> str:
    rows = [(one, one.row.account) for one in figures.maps if one.row.account.get("made")]
    if not rows:
        return ""
    rows.sort(key=lambda row: -row[1]["made"])
    body = ""
    for one, account in rows[: timelines.MOST_MAPS]:
        sizes = [units.size(account.get(name, 0)) for name in ("made", "most", "released", "spilled")]
        body += f"<tr><td>{escape(one.label)}</td>{''.join(f'<td class=n>{size}</td>' for size in sizes)}</tr>"
    heads = "".join(f'<th class="n">{name}</th>' for name in ("made", "most at once", "let go", "moved to disk"))
    return (
        "<h2>Memory</h2><p>Bytes of tasks' values, as they were estimated where they were made; what the run itself "
        f'returned is let go after its end.</p><div class="wide"><table><thead><tr><th>task</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
