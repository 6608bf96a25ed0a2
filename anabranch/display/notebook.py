"""Progress in a notebook: one output in each cell, which is replaced as its maps go on.

    load    [=====    ] 4,000/10,000  40 %  812/s  ETA 0:07  3 failed       a line for each map under way
    clean: 10,000 items in 12.1 s (826/s)                                   a line for each that ended lately
    > 17 maps before                                                        folded

No widget: an output with text and HTML is shown by every front end, and stays in the saved notebook.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import uuid
from collections import deque
from html import escape
from typing import TYPE_CHECKING, Any

from anabranch.display import meter, units

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.display.meter import Meter, Reading

PERIOD = 0.5  # seconds between two messages about progress, at least; the end of a map is shown at once
SHOWN_ENDED = 3  # maps that have ended and have a line of their own
MOST_ENDED = 100  # lines of ended maps that are kept
MOST_CELLS = 16  # cells with an output that later maps are added to
STYLE = meter.Style(width=100)
_FADED = ' style="opacity: 0.75"'


class Notebook:
    """A sink that shows all maps of a cell in one output, in the cell that made them.

    Args:
        publish: shows MIME types with their data as the output of that name, again if it is there; it is called in
            the context of the cell.
        cell: returns what tells the cell that runs in the present context.
    """

    def __init__(
        self, publish: Callable[[dict[str, str], str, bool], None] | None = None, cell: Callable[[], str] | None = None
    ) -> None:
        self._publish = publish or _publish
        self._cell = cell or _cell
        self._cells: dict[str, _Cell] = {}
        self._of: dict[int, _Cell] = {}
        self._due = 0.0

    def show(self, shown: list[tuple[Meter, Reading]], now: float) -> None:
        new = False
        for which, reading in shown:
            if id(which) not in self._of:
                self._of[id(which)] = self._cell_of(which)
                new = True
            self._of[id(which)].take(which, reading)
        if new or now >= self._due:
            changed = [cell for cell in self._cells.values() if cell.changed]
            for cell in changed:
                cell.put(self._publish)
            self._due = now + PERIOD * max(1, len(changed))

    def end(self, which: Meter, reading: Reading) -> None:
        cell = self._of.pop(id(which), None)
        if cell is not None:
            cell.end(which, reading)
            cell.put(self._publish)

    def close(self) -> None:
        self._of.clear()

    def _cell_of(self, which: Meter) -> _Cell:
        context = which.context or contextvars.copy_context()
        name = context.run(self._cell)
        cell = self._cells.pop(name, None) or _Cell()
        cell.context = context
        self._cells[name] = cell  # the newest is the last
        for old in [key for key, one in self._cells.items() if not one.running][:-MOST_CELLS]:
            del self._cells[old]
        return cell


class _Cell:
    """The output of one cell.

    Attributes:
        context: that of the cell, by which the kernel finds it; None while no map runs, since it keeps values alive.
        running: the maps under way, with their last readings.
        changed: it is not shown as it stands.
    """

    def __init__(self) -> None:
        self.context: contextvars.Context | None = None
        self.running: dict[int, Reading] = {}
        self.changed = False
        self._ended: deque[str] = deque(maxlen=MOST_ENDED)
        self._many_ended = 0
        self._id = f"anabranch-{uuid.uuid4().hex}"
        self._there = False

    def take(self, which: Meter, reading: Reading) -> None:
        self.changed = True
        self.running[id(which)] = reading

    def end(self, which: Meter, reading: Reading) -> None:
        self.changed = True
        self.running.pop(id(which), None)
        self._ended.append(meter.end_line(reading))
        self._many_ended += 1

    def put(self, publish: Callable[[dict[str, str], str, bool], None]) -> None:
        """Show it, in the place where it was shown before."""
        if self.context is not None:
            self.context.run(publish, self._data(), self._id, self._there)
            self._there, self.changed = True, False
        if not self.running:
            self.context = None

    def _data(self) -> dict[str, str]:
        lately = list(self._ended)[-SHOWN_ENDED:]
        before = list(self._ended)[:-SHOWN_ENDED]
        many = self._many_ended - len(lately)
        head = [f"{units.count(many)} maps ended before"] if many else []
        shown = list(self.running.values())[: meter.LINES]
        rest = len(self.running) - len(shown)
        tail = [f"... and {units.count(rest)} more maps"] if rest else []
        text = [*head, *lately, *(meter.line(one, STYLE) for one in shown), *tail]
        folded = f"<details><summary>{head[0]}</summary>{'<br>'.join(map(escape, before))}</details>" if head else ""
        html = [
            folded, *(f"<div{_FADED}>{escape(one)}</div>" for one in lately), _rows(shown),
            *(f"<div{_FADED}>{one}</div>" for one in tail),
        ]  # fmt: skip
        return {"text/plain": "\n".join(text), "text/html": "".join(html)}


def _rows(shown: list[Reading]) -> str:
    rows = []
    for one in shown:
        total = f' max="{max(1, one.total)}" value="{one.done}"' if one.total is not None else ""
        words = [units.rate(one.rate)]
        if one.eta is not None:
            words.append(f"ETA {units.clock(one.eta)}")
        bar = f'<progress{total} style="width: 12em"></progress>'
        parts = [escape(one.name), bar, meter.counts(one).strip(), *map(escape, words), ", ".join(meter.extras(one))]
        rows.append("<tr>" + "".join(f'<td style="text-align: left">{part}</td>' for part in parts) + "</tr>")
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _publish(data: dict[str, str], name: str, again: bool) -> None:
    from IPython import get_ipython

    shell: Any = get_ipython()
    shell.display_pub.publish(data, {}, transient={"display_id": name}, update=again)


def _cell() -> str:
    from IPython import get_ipython

    shell: Any = get_ipython()
    header = getattr(getattr(shell, "display_pub", None), "parent_header", None) or {}
    return str(header.get("header", header).get("msg_id", ""))


def in_notebook() -> bool:
    """Return whether this is a Jupyter kernel (IPython on a terminal is a terminal)."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def in_its_cell(work: Callable[[], None]) -> Callable[[], None]:
    """Return `work` so that, in whatever thread it runs, its output goes to the cell that runs now."""
    return functools.partial(contextvars.copy_context().run, work) if in_notebook() else work


def cell_of(file: str) -> str:
    """Return the name of the cell that a file of the shell stands for, as ``Cell In[3]``; "" for other files."""
    from IPython import get_ipython

    shell = get_ipython()
    named = getattr(getattr(shell, "compile", None), "format_code_name", None)
    found = None if named is None else named(file)
    return " ".join(found) if found else ""
