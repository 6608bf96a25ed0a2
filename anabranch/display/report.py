"""A page of facts, tables and plots as one self-contained HTML file.

    page = Page("Survey")
    page.facts([("files", "1,712")])
    page.histogram("Lines per file", values, "lines", "files")
    page.write("report.html")

Plots are inline SVG: by matplotlib where it is installed, else drawn here.
"""

from __future__ import annotations

import io
import math
import os
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.display import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH, HEIGHT = 720, 320
_INK, _FILL = "#1b3a4b", "#3a86a8"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b2a33;background:#fff;margin:2rem auto;max-width:60rem;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .2rem} h2{font-size:1.1rem;margin:2rem 0 .5rem} p.lead{color:#51646f;margin:.2rem 0 1rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .6rem;border-bottom:1px solid #dde5e9;text-align:left} th{color:#51646f;font-weight:600}
td.n,th.n{text-align:right} dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem} dt{color:#51646f}
dd{margin:0} svg{max-width:100%;height:auto} figure{margin:0} .none{color:#51646f}
"""


class Page:
    """Collects sections; `html` and `write` produce the page."""

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._parts = [f"<h1>{escape(title)}</h1>"]
        if lead:
            self._parts.append(f'<p class="lead">{escape(lead)}</p>')

    def facts(self, rows: Iterable[tuple[str, object]], heading: str = "") -> None:
        """Add names and values, one below the other."""
        self._heading(heading)
        cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows)
        self._parts.append(f"<dl>{cells}</dl>")

    def table(self, heading: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; columns of numbers are aligned to the right."""
        self._heading(heading)
        if not rows:
            self._parts.append('<p class="none">none</p>')
            return
        right = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(columns))]
        head = "".join(_cell("th", name, n) for name, n in zip(columns, right, strict=True))
        body = "".join(
            "<tr>" + "".join(_cell("td", v, n) for v, n in zip(row, right, strict=True)) + "</tr>" for row in rows
        )
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def histogram(self, heading: str, values: Sequence[float], unit: str, what: str, bins: int = 30) -> None:
        """Add a histogram of values on a logarithmic axis, as sizes need it."""
        edges, heights = log_bins(values, bins)
        self._plot(heading, _histogram_by_matplotlib, _histogram_by_hand, edges, heights, unit, what)

    def bars(self, heading: str, rows: Sequence[tuple[str, float]], unit: str) -> None:
        """Add a horizontal bar per name."""
        self._plot(heading, _bars_by_matplotlib, _bars_by_hand, rows, unit)

    def html(self) -> str:
        body = "\n".join(self._parts)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
            f"<body>\n{body}\n</body></html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page in one step: an older page stays until this one is complete."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_text(self.html(), encoding="utf-8")
        draft.replace(target)
        return target

    def _heading(self, text: str) -> None:
        if text:
            self._parts.append(f"<h2>{escape(text)}</h2>")

    def _plot(self, heading: str, better: Any, plain: Any, *args: Any) -> None:
        self._heading(heading)
        if not args[0]:
            self._parts.append('<p class="none">nothing to plot</p>')
            return
        try:
            drawn = better(heading, *args)
        except ImportError:
            drawn = plain(heading, *args)
        self._parts.append(f"<figure>{drawn}</figure>")


def _cell(tag: str, value: object, number: bool) -> str:
    text = f"{value:,}" if number and isinstance(value, int) else str(value)
    return f'<{tag} class="n">{escape(text)}</{tag}>' if number else f"<{tag}>{escape(text)}</{tag}>"


def log_bins(values: Sequence[float], bins: int) -> tuple[list[float], list[int]]:
    """Return edges (one more than bins) in equal ratios, and the number of values in each bin."""
    positive = [v for v in values if v > 0]
    if not positive:
        return [], []
    low, high = min(positive), max(positive)
    bins = max(1, bins if high > low else 1)
    ratio = math.log(high / low) / bins if high > low else math.log(2)
    heights = [0] * bins
    for value in positive:
        heights[min(bins - 1, int(math.log(value / low) / ratio))] += 1
    return [low * math.exp(ratio * i) for i in range(bins + 1)], heights


# -- by matplotlib ---------------------------------------------------------------------------------


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 100, height / 100), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg_of(figure: Any, label: str) -> str:
    import matplotlib

    out = io.StringIO()
    # Text stays text: small, searchable, in the reader's font. A fixed salt makes equal pages equal.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "anabranch", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def _histogram_by_matplotlib(label: str, edges: list[float], heights: list[int], unit: str, what: str) -> str:
    figure, axes = _figure(HEIGHT)
    axes.stairs(heights, edges, fill=True, color=_FILL)
    if edges[-1] > edges[0]:
        axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel(what)
    return _svg_of(figure, label)


def _bars_by_matplotlib(label: str, rows: Sequence[tuple[str, float]], unit: str) -> str:
    figure, axes = _figure(70 + 22 * len(rows))
    places = range(len(rows), 0, -1)  # bars by place, because names may repeat
    axes.barh(places, [value for _, value in rows], color=_FILL)
    axes.set_yticks(places, [name for name, _ in rows])
    axes.set_xlabel(unit)
    return _svg_of(figure, label)


# -- by hand ---------------------------------------------------------------------------------------


def _svg(label: str, height: float, shapes: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} '
        f'{height:.0f}" font-family="sans-serif" font-size="12" fill="{_INK}">{"".join(shapes)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" fill="{_FILL}"/>'


def _histogram_by_hand(label: str, edges: list[float], heights: list[int], unit: str, what: str) -> str:
    left, bottom, top = 50.0, HEIGHT - 40.0, 20.0
    step = (WIDTH - left - 10) / len(heights)
    tallest = max(heights)
    shapes = []
    for i, number in enumerate(heights):
        tall = (bottom - top) * number / tallest
        shapes.append(_rect(left + i * step, bottom - tall, step - 1, tall))
    ticks = range(0, len(edges), max(1, len(edges) // 8))
    shapes += [_text(left + i * step, bottom + 16, units.count(edges[i]), "middle") for i in ticks]
    shapes += [_text(left - 6, top + 4, units.count(tallest), "end"), _text(left - 6, bottom, "0", "end")]
    shapes += [_text(WIDTH / 2, HEIGHT - 6, unit, "middle"), _text(4, 12, what)]
    return _svg(label, HEIGHT, shapes)


def _bars_by_hand(label: str, rows: Sequence[tuple[str, float]], unit: str) -> str:
    left = 10 + 6.5 * max(len(name) for name, _ in rows)
    left = min(left, WIDTH * 0.6)
    most = max(value for _, value in rows) or 1
    shapes = []
    for i, (name, value) in enumerate(rows):
        y = 10 + i * 22.0
        wide = (WIDTH - left - 70) * value / most
        shapes += [_text(left - 6, y + 13, name, "end"), _rect(left, y, wide, 17)]
        shapes.append(_text(left + wide + 5, y + 13, units.count(value)))
    height = 10 + len(rows) * 22.0 + 24
    return _svg(label, height, [*shapes, _text(left, height - 8, unit)])
