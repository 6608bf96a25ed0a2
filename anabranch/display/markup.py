"""Pieces of HTML that any notebook shows, trusted or not, in light and in dark themes.

Front ends clean the output of notebooks that are not trusted: what is left are plain tags, `<img>` with data, and
inline declarations of a few kinds; `style`, `svg`, `script` and values with `var()` go. So text has the colour of its
surroundings, lines and grounds are grey that lets them through, and pictures have colours that stand out on both.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from anabranch.core.tracebacks import with_cells
from anabranch.display import strips

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CARD = (
    "border:1px solid rgba(128,128,128,0.45);border-radius:4px;padding:8px 12px;margin:4px 0;max-width:760px;"
    "line-height:1.5"
)
FAINT = "opacity:0.75"
_LABEL = f"display:inline-block;min-width:180px;padding:0 8px 0 0;vertical-align:top;{FAINT}"
_FACT = "display:inline-block;max-width:520px;vertical-align:top"
_TRACE = (
    "margin:4px 0 4px 16px;padding:6px 8px;overflow-x:auto;background:rgba(128,128,128,0.12);font-size:12px;"
    "font-family:monospace"
)
NAME_WIDTH = 80
TRACE_WIDTH = 2_500  # characters of a traceback: its end
TRACE_MARKUP = 5_000  # with what escapes them


def cut(text: str, width: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def first_line(text: str, width: int = 160) -> str:
    """Return the first line that says anything."""
    return cut(text.strip().partition("\n")[0], width)


def card(*parts: str) -> str:
    """Return parts in a frame, one below the other."""
    return f'<div style="{CARD}">{"".join(part for part in parts if part)}</div>'


def head(name: str, *said: str) -> str:
    """Return the first line of a card: what it is about, and what is said of it."""
    more = " · ".join(escape(one) for one in said if one)
    return f'<div><b>{escape(cut(name, NAME_WIDTH))}</b> <span style="{FAINT}">{more}</span></div>'


def line(*said: str, faint: bool = True) -> str:
    """Return a line of facts; "" for none."""
    text = " · ".join(escape(one) for one in said if one)
    return (f'<div style="{FAINT}">{text}</div>' if faint else f"<div>{text}</div>") if text else ""


def picture(png: bytes, told: str) -> str:
    """Return a picture in its own size; `told` says what it shows."""
    image = f'<img style="display:block" alt="{escape(told)}" title="{escape(told)}" src="{strips.data_uri(png)}">'
    return f'<div style="margin:4px 0">{image}</div>'


def mark(kind: int) -> str:
    """Return the swatch of a kind of state."""
    return (
        f'<img alt="" style="vertical-align:middle;margin:0 4px 0 0;display:inline-block" '
        f'src="{strips.data_uri(strips.swatch(kind))}">'
    )


def legend(counts: Sequence[int], names: Sequence[str] = ()) -> str:
    """Return swatches with counts and words; `names` refine the words of each kind."""
    parts = []
    for kind, n in enumerate(counts):
        if n:
            more = f" ({names[kind]})" if names and names[kind] else ""
            words = f"{n:,} {strips.KINDS[kind].word}{escape(more)}"
            parts.append(f'<span style="white-space:nowrap">{mark(kind)}{words}</span>')
    return f"<div>{' &nbsp; '.join(parts)}</div>" if parts else ""


def rows(facts: Iterable[tuple[str, str]]) -> str:
    """Return names and texts, a line each. No table: front ends have stripes and colours of their own for tables."""
    return "".join(
        f'<div><span style="{_LABEL}">{escape(name)}</span> <span style="{_FACT}">{escape(cut(text, 300))}</span></div>'
        for name, text in facts
    )


def trace(text: str) -> str:
    """Return the end of a traceback, as text of one width."""
    text = with_cells(text)
    end = text.strip()[-TRACE_WIDTH:]
    while len(escape(end)) > TRACE_MARKUP:
        end = end[len(end) // 4 :]
    dots = "…\n" if len(end) < len(text.strip()) else ""
    return f'<pre style="{_TRACE}">{dots}{escape(end)}</pre>'


def folded(summary: str, inside: str) -> str:
    """Return a line that opens; with nothing inside a line. `summary` is a text, `inside` HTML."""
    if not inside:
        return f'<div style="margin:0 0 0 16px">{escape(summary)}</div>'
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(text)}</a>'
