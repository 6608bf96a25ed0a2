"""The report of a run as one self-contained page: no library, no request, of a size that does not grow with the items.

    RunFigures --sections--> head, shares, timeline, graph, maps, failures, memory --> one HTML file

It is whole without its script, which only says what the pointer is over. Light or dark as the reader's system is.
"""

from __future__ import annotations

import json
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core.states import NAMES, StateType
from anabranch.display import map_report, run_graph, strips, summary, timelines, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.display.item_times import Axis
    from anabranch.display.run_figures import MapFigures, RunFigures
    from anabranch.display.shares import Share

SUBFLOWS = 10  # that are named
TRACE = 6_000  # characters of a traceback: its end


def page(figures: RunFigures) -> str:
    """Return the report as a page."""
    parts = [head(figures), shares(figures), timeline(figures), graph(figures), failures(figures)]
    parts += [map_report.maps(figures), map_report.memory(figures), notes(figures)]
    return document(_title(figures), "".join(part for part in parts if part), figures.axis, figures.run.id)


def document(title: str, body: str, axis: Axis, run: str) -> str:
    """Return a page with our style and script; `axis` is that of its timelines."""
    words = " ".join(kind.word for kind in strips.KINDS)
    data = (
        f'data-left="{timelines.LEFT}" data-span="{timelines.SPAN}" data-seconds="{axis.seconds:.6f}" '
        f'data-begin="{axis.begin:.6f}"'
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style()}</style></head>\n'
        f'<body {data} data-words="{words}">{_PATTERNS}\n{body}'
        f"<footer>anabranch, report of {escape(run)}</footer><script>{script()}</script></body></html>\n"
    )


def style() -> str:
    """Return the style sheet of the page."""
    return (Path(__file__).parent / "run_report.css").read_text(encoding="utf-8")


def script() -> str:
    """Return the script of the page."""
    return (Path(__file__).parent / "run_report.js").read_text(encoding="utf-8")


_PATTERNS = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs><pattern id="waits" width="6" '
    'height="6" patternUnits="userSpaceOnUse"><path class="hatch" d="M-1 7L7 -1M-1 1L1 -1M5 7L7 5"/></pattern></defs>'
    "</svg>"
)


def _title(figures: RunFigures) -> str:
    return f"{figures.run.flow}: {figures.run.name}"


# -- head ------------------------------------------------------------------------------------------


def facts(figures: RunFigures) -> list[tuple[str, str]]:
    """Return what is said of the run as a whole, as names and texts; empty ones are left out."""
    run = figures.run
    again = sum(one.again for one in figures.maps)
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(figures.axis.start))
    took = units.duration(figures.axis.seconds) + ("" if run.ended else ", and goes on")
    slots = f", {figures.slots} worker{'s' if figures.slots != 1 else ''}" if figures.slots else ""
    found = [
        ("started", begun), ("took", took), ("runner", f"{run.runner}{slots}" if run.runner else ""),
        ("task runs", units.count(figures.items)),
        ("states", strips.told(_counts(figures.maps)) if figures.maps else ""),
        ("more than one attempt", units.count(again) if again else ""),
        ("message", run.message), ("flow attempts", str(run.attempt) if run.attempt > 1 else ""),
        ("drivers", f"{run.token + 1}: resumed {run.token} time{'s' if run.token != 1 else ''}" if run.token else ""),
        ("tags", ", ".join(run.tags)), ("version", run.version), ("parameters", _parameters(run.parameters)),
        ("subflow of", figures.parent), ("subflows", _some(figures.subflows)), ("id", run.id),
    ]  # fmt: skip
    return [(name, text) for name, text in found if text]


def head(figures: RunFigures) -> str:
    run, kind = figures.run, NAMES[figures.run.state][1]
    bad = kind in (StateType.FAILED, StateType.CRASHED)
    tone = "bad" if bad else "good" if kind is StateType.COMPLETED else ""
    sign = "✗ " if bad else "✓ " if tone else ""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts(figures))
    state = f'<span class="state {tone}">{sign}{escape(run.state_name or NAMES[run.state][0])}</span>'
    return f'<h1>{escape(run.flow)}</h1><p class="lead">{escape(run.name)} {state}</p><dl>{rows}</dl>'


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many there are beside them."""
    rest = f" and {len(names) - SUBFLOWS:,} more" if len(names) > SUBFLOWS else ""
    return ", ".join(names[:SUBFLOWS]) + rest


def _parameters(text: str) -> str:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return text
    said = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in found.items())
    return said if len(said) <= 1_000 else f"{said[:1_000]}…"


def _counts(maps: Sequence[MapFigures]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*(one.counts for one in maps), strict=True)))


# -- shares ----------------------------------------------------------------------------------------


def lead(figures: RunFigures) -> str:
    """Return one sentence on where the time went."""
    if not figures.shares:
        return ""
    calls = figures.shares[0]
    rest = max(figures.shares[1:], key=lambda share: share.part)
    wall, slots = units.duration(figures.axis.seconds), figures.slots
    more = f"; the largest other part is {rest.name}, {rest.part:.1%}" if rest.part >= 0.0005 else ""
    return f"{wall} x {slots} worker{'s' if slots != 1 else ''}: {calls.part:.1%} of it was your code{more}."


def shares(figures: RunFigures) -> str:
    if not figures.shares:
        why = "No chunk of this run has noted its times: plain calls, or a record of an older anabranch."
        return f'<h2>Where the time went</h2><p class="faint">{why}</p>' if figures.maps else ""
    bars, at, total = [], 0.0, sum(share.seconds for share in figures.shares) or 1.0
    for number, share in enumerate(figures.shares, 1):
        wide = 960 * share.seconds / total
        title = f"<title>{escape(f'{share.name}: {share.part:.1%}')}</title>"
        bars.append(f'<rect class="c{number}" x="{at:.1f}" y="0" width="{wide:.1f}" height="26">{title}</rect>')
        if wide > 7 * len(share.name) + 12:
            bars.append(f'<text class="in" x="{at + 6:.1f}" y="17">{escape(share.name)}</text>')
        at += wide
    rows = "".join(_share_row(number, share) for number, share in enumerate(figures.shares, 1))
    over = sum(share.part for share in figures.shares)
    note = "" if over <= 1.02 else (
        f'<p class="faint">Together {over:.0%}: extra workers ran while tasks waited for other tasks.</p>'
    )  # fmt: skip
    label = 'role="img" aria-label="Shares of the time of all workers"'
    return (
        f"<h2>Where the time went</h2><p>{escape(lead(figures))}</p>"
        f'<svg {label} viewBox="0 0 960 26" width="960">{"".join(bars)}</svg>'
        '<div class="wide"><table><thead><tr><th>part</th><th class="n">of all</th><th class="n">seconds x workers</th>'
        f"<th>what it is</th></tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _share_row(number: int, share: Share) -> str:
    box = f'<rect class="c{number}" width="12" height="12"/>'
    key = f'<span class="key"><svg viewBox="0 0 12 12" width="12" height="12">{box}</svg></span>'
    return (
        f'<tr><td class="name">{key}{escape(share.name)}</td><td class="n">{share.part:.1%}</td><td class="n">'
        f'{map_report.short(share.seconds)}</td><td class="what">{escape(share.meaning)}</td></tr>'
    )


# -- time and graph --------------------------------------------------------------------------------


def timeline(figures: RunFigures) -> str:
    shown = [one for one in figures.maps if len(one.codes)]
    if not shown:
        return ""
    full = f" (full height: all {figures.slots} workers)" if figures.slots else ""
    cell = map_report.short(figures.axis.width)
    parts = [
        "<h2>Timeline</h2><p>Each task has a row: hatched, the share of its items that have not begun; filled, how "
        f"many run at once{full}; a cross, items that failed. A cell is {cell} wide.</p>",
        f'<div class="wide">{timelines.maps_svg(shown, figures.axis, figures.slots)}</div>',
    ]
    if len(shown) > timelines.MOST_MAPS:
        parts.append(f'<p class="faint">The first {timelines.MOST_MAPS} of {len(shown):,} are drawn.</p>')
    if figures.lanes:
        how = (
            "Each run has a bar; one with a cross failed." if figures.marks else
            "Filled is the share of each cell in which the worker ran items; empty, it waited."
        )  # fmt: skip
        picture = timelines.lanes_svg(figures.lanes, figures.marks, figures.axis)
        parts.append(f'<h3>Workers</h3><p>{how}</p><div class="wide">{picture}</div>')
        parts += [f'<p class="faint">{escape(note)}</p>' for note in figures.notes if "bands" in note]
        if figures.marks:
            parts.append(map_report.legend(_counts(figures.maps)))
        elif all(one.row.id != figures.run.id for one in figures.maps):  # a run that the command finds
            parts.append(_closer(figures))
    return "".join(parts)


def _closer(figures: RunFigures) -> str:
    begin = figures.axis.seconds / 2
    end = begin + figures.axis.width
    command = f"anabranch run show {figures.run.name} --html moment.html --between {begin:.4g} {end:.4g}"
    return f'<p class="faint">Each item of a moment, in seconds of the run: <code>{escape(command)}</code></p>'


def graph(figures: RunFigures) -> str:
    nodes = figures.graph
    if len(nodes) < 2:
        return ""
    cut = "" if len(nodes) <= run_graph.MOST else f" The first {run_graph.MOST} of {len(nodes):,} are drawn."
    return (
        "<h2>What reads what</h2><p>A box is a map, a single run, or several single runs of one task; an arrow "
        f'leads to what reads it or waits for it.{cut}</p><div class="wide">{run_graph.graph_svg(nodes)}</div>'
    )


# -- failures --------------------------------------------------------------------------------------


def failures(figures: RunFigures) -> str:
    if not figures.failures:
        return ""
    parts = []
    for group, trace in figures.failures:
        line = summary.failure_lines([group], task=True)[0]
        end = trace if len(trace) <= TRACE else f"…\n{trace[-TRACE:]}"
        inside = f"<pre>{escape(end.rstrip())}</pre>" if end else '<p class="faint">no traceback was recorded</p>'
        parts.append(f"<details><summary>✗ {escape(line)}</summary>{inside}</details>")
    rest = [note for note in figures.notes if "failures of" in note]
    parts += [f'<p class="faint">{escape(note)}</p>' for note in rest]
    said = "In groups of like messages; each opens to the traceback of its first item."
    return f"<h2>Failures</h2><p>{said}</p>{''.join(parts)}"


def notes(figures: RunFigures) -> str:
    rest = [note for note in figures.notes if "bands" not in note and "failures of" not in note]
    return "".join(f'<p class="faint">{escape(note)}</p>' for note in rest)
