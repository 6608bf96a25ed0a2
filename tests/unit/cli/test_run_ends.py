"""The exit code of a command that runs a flow."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.cli.run import to_its_end
from anabranch.compat.prefect.exceptions import TerminationSignal


@pytest.mark.parametrize(
    ("end", "code"),
    [(TerminationSignal(signal.SIGTERM), 143), (SystemExit(75), 75), (KeyboardInterrupt(), 130)],
    ids=["SIGTERM under Prefect's names", "the walltime", "Ctrl-C"],
)
def test_a_signal_ends_the_command_with_its_code(end: BaseException, code: int) -> None:
    def start() -> Any:
        raise end

    with pytest.raises(SystemExit) as told:
        to_its_end(SimpleNamespace(isasync=False, name="f"), start)
    assert told.value.code == code
    assert not isinstance(told.value, KeyboardInterrupt)  # click would make 1 of it
