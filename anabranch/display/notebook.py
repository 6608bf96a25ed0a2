"""Progress in a notebook: a bar of tqdm for each map."""

from __future__ import annotations

import contextvars
import functools
import sys
import warnings
from typing import TYPE_CHECKING, Any

from anabranch.display import meter
from anabranch.display.meter import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.display.meter import Meter, Reading


class Notebook:
    """A tqdm bar per map, in the cell that made the map."""

    def __init__(self) -> None:
        self._bars: dict[int, Any] = {}

    def show(self, shown: list[tuple[Meter, Reading]], now: float) -> None:
        for which, reading in shown:
            if id(which) not in self._bars:
                self._bars[id(which)] = _Bar(which.context, reading)
            self._bars[id(which)].update(reading)

    def end(self, which: Meter, reading: Reading) -> None:
        bar = self._bars.pop(id(which), None)
        if bar is not None:
            bar.update(reading)
            bar.close()

    def close(self) -> None:
        while self._bars:
            self._bars.popitem()[1].close()


class _Bar:
    """A tqdm bar, used only in the context of its cell, by which the kernel finds the cell."""

    def __init__(self, context: contextvars.Context | None, reading: Reading) -> None:
        self._context = context or contextvars.copy_context()
        self._bar = self._context.run(_tqdm, reading)

    def update(self, reading: Reading) -> None:
        self._bar.total = reading.total
        self._bar.set_postfix_str(", ".join(meter.extras(reading)), refresh=False)
        self._context.run(self._bar.update, reading.done - self._bar.n)

    def close(self) -> None:
        self._context.run(self._bar.close)


def _tqdm(reading: Reading) -> Any:
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # without ipywidgets a text bar is shown
        from tqdm.auto import tqdm
    bar = tqdm(total=reading.total, desc=reading.name, unit="item", mininterval=INTERVAL)
    bar.start_t -= reading.seconds
    return bar


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
