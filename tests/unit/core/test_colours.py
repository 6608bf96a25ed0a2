"""Colours: NO_COLOR wins over FORCE_COLOR, both over the terminal."""

from __future__ import annotations

import pytest

from anabranch.core.colours import wanted


@pytest.mark.parametrize(
    ("terminal", "environ", "coloured"),
    [
        (True, {}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"FORCE_COLOR": "0"}, False),
        (False, {"FORCE_COLOR": ""}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_the_environment_decides_before_the_terminal(terminal: bool, environ: dict[str, str], coloured: bool) -> None:
    assert wanted(terminal, environ) is coloured
