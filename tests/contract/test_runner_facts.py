"""What runners tell of themselves for notebooks: as far as the driver knows, without asking the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.own_runners import OwnRunner
from tests.unit.display.untrusted import lost, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.conftest import Bench


def text_of(runner: Any) -> str:
    """What a reader of an untrusted notebook sees of a runner."""
    if not isinstance(runner, OwnRunner):
        pytest.skip("the fake runner is for tests: nobody shows it")
    html = runner._repr_html_()
    assert html is not None
    assert lost(html) == []
    return plain_text(html)


def test_a_runner_tells_whether_it_runs_and_of_its_slots(bench: Bench) -> None:
    text = text_of(bench.runner)
    assert text.startswith(f"{type(bench.runner).__name__} running ")
    assert f" slots {bench.slots()}" in text


def test_a_runner_that_was_not_started_says_so(new_runner: Callable[[], Any]) -> None:
    made = new_runner()
    assert text_of(made).startswith(f"{type(made).__name__} not started")
