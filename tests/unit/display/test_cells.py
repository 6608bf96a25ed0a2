"""Progress of a command that a notebook's cell has started: its terminal is none."""

from __future__ import annotations

import io
import sys

import pytest

from anabranch.display import progress
from anabranch.display.progress import Plain


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "value"), [("MPLBACKEND", "module://matplotlib_inline.backend_inline"), ("JPY_PARENT_PID", "1")]
)
def test_the_terminal_of_a_notebooks_cell_is_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("TERM", "xterm-color")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", Screen())
    assert isinstance(progress.choose_sink(), Plain)
