"""The report of a run in a notebook: pieces that every front end keeps, trusted or not.

Notebooks that are not trusted drop style sheets, SVG and scripts. So pictures are PNGs, shares are `<progress>`, and
all else is tables and text in the colours of the surroundings.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from anabranch.display import graphs, map_report, run_report, strips, summary, units

if TYPE_CHECKING:
    from anabranch.display.run_figures import MapFigures, RunFigures

MAPS = 8  # with a strip
GROUPS = 5  # of failures
TRACE = 2_500  # characters of a traceback: its end
_CELL = "text-align:left;padding:1px 16px 1px 0;border:none;background:transparent;color:inherit;font-size:inherit"
_FAINT = "opacity:0.75"


def html(figures: RunFigures) -> str:
    """Return the report as a notebook's output, of a few kilobytes."""
    run = figures.run
    state = escape(run.state_name)
    facts = [row for row in run_report.facts(figures) if row[0] in ("took", "runner", "states", "message")]
    parts = [
        f'<div><b>{escape(run.flow)}</b> <span style="{_FAINT}">{escape(run.name)} · {state}</span></div>',
        _table([(escape(name), escape(text)) for name, text in facts]),
        _shares(figures),
        *(_strip(one) for one in sorted(figures.maps, key=lambda one: -len(one.codes))[:MAPS] if len(one.codes)),
        graphs.boxes(figures.graph, "nodes") if len(figures.graph) > 1 else "",
        _lanes(figures), _failures(figures),
        f'<div style="{_FAINT}">the whole report as a page: report(...).write("report.html")</div>',
    ]  # fmt: skip
    return f'<div style="max-width:720px;line-height:1.5">{"".join(parts)}</div>'


def text(figures: RunFigures) -> str:
    """Return the report in a few lines."""
    run = figures.run
    lines = [f"{run.flow} ({run.name}): {run.state_name}"]
    lines += [f"  {one.label}: {strips.told(one.counts)}" for one in figures.maps[:MAPS]]
    lead = run_report.lead(figures)
    lines += [f"  {lead}"] if lead else []
    failures = [group for group, _ in figures.failures]
    return "\n".join([*lines, *(f"  {line}" for line in summary.failure_lines(failures, GROUPS, task=True))])


def _table(rows: list[tuple[str, str]]) -> str:
    row = '<tr style="background:transparent"><td style="{0};{1}">{2}</td><td style="{0}">{3}</td></tr>'
    body = "".join(row.format(_CELL, _FAINT, name, said) for name, said in rows)
    return f'<table style="border:none;border-collapse:collapse;margin:4px 0">{body}</table>'


def _shares(figures: RunFigures) -> str:
    if not figures.shares:
        return ""
    rows = [
        (escape(share.name), f'<progress max="1" value="{share.part:.3f}"></progress> {share.part:.1%}')
        for share in figures.shares if share.part >= 0.0005
    ]  # fmt: skip
    return f"<div>{escape(run_report.lead(figures))}</div>{_table(rows)}"


def _strip(one: MapFigures) -> str:
    told = strips.told(one.counts)
    picture = strips.data_uri(strips.strip(strips.kinds_of(one.codes)))
    times = ""
    if one.durations.spreads:
        spread = max(one.durations.spreads, key=lambda spread: spread.count)
        times = f"; median {map_report.short(spread.quantiles[3])}, most {map_report.short(spread.quantiles[-1])}"
    return (
        f'<div>{escape(one.label)} <span style="{_FAINT}">{escape(told + times)}</span></div>'
        f'<div style="margin:2px 0 6px"><img alt="{escape(told)}" title="{escape(told)}" src="{picture}"></div>'
    )


def _lanes(figures: RunFigures) -> str:
    """Return a strip of time for each worker: what it ran, and where it waited."""
    if not figures.lanes or len(figures.lanes) > 16:
        return ""
    rows = []
    for lane in figures.lanes:
        full = figures.axis.width * lane.slots
        columns = []
        for seconds in lane.busy.seconds:
            counts = [0] * len(strips.KINDS)
            counts[strips.DONE] = min(100, round(100 * seconds / full))
            counts[strips.WAITS] = 100 - counts[strips.DONE]
            columns.append(counts)
        busy = min(1.0, sum(lane.busy.seconds) / (figures.axis.seconds * lane.slots))
        said = f"{lane.name} ran items for {busy:.0%} of the time"
        picture = strips.data_uri(strips.drawn(columns, height=10, width=400))
        rows.append((escape(lane.name), f'<img alt="{escape(said)}" title="{escape(said)}" src="{picture}">'))
    took = units.duration(figures.axis.seconds)
    return f"<details><summary>Workers over {took}: blue ran, grey waited</summary>{_table(rows)}</details>"


def _failures(figures: RunFigures) -> str:
    parts = []
    for group, trace in figures.failures[:GROUPS]:
        line = escape(summary.failure_lines([group], task=True)[0])
        inside = f'<pre style="overflow-x:auto;font-size:12px">{escape(trace[-TRACE:].rstrip())}</pre>' if trace else ""
        parts.append(f"<details><summary>✗ {line}</summary>{inside}</details>" if inside else f"<div>✗ {line}</div>")
    rest = len(figures.failures) - GROUPS
    if rest > 0:
        parts.append(f'<div style="{_FAINT}">and {rest} more kinds of failures</div>')
    return "".join(parts)
