"""Batches of joblib that run side by side in one worker and limit its libraries' threads."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from anabranch.core.native_threads import VARIABLES
from anabranch.integrations.inner_threads import Elsewhere

if TYPE_CHECKING:
    import pytest


def test_what_the_first_batch_has_set_the_last_one_puts_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ends before the second: neither takes the other's value for the worker's own."""
    first_name, *others = VARIABLES
    monkeypatch.setenv(first_name, "7")
    for name in others:
        monkeypatch.delenv(name, raising=False)
    worker = Elsewhere()
    with contextlib.ExitStack() as second:
        with worker.limits(2):
            second.enter_context(worker.limits(2))
        assert {os.environ[name] for name in VARIABLES} == {"2"}
    assert os.environ[first_name] == "7"
    assert not any(name in os.environ for name in others)
