"""What the cancel of one run does to the flow around it: under Prefect's names it fails, under ours it is cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import anabranch
import anabranch.compat.prefect as prefect
from anabranch.compat.prefect.states import Cancelled
from anabranch.core.errors import CancelledRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.gates import Gate


def test_a_cancel_that_nobody_catches_fails_the_flow_of_prefect() -> None:
    told = []

    @prefect.task
    def gone() -> Any:
        return Cancelled(message="by hand")

    @prefect.flow(on_failure=[lambda flow, run, state: told.append(state.name)])
    def inner() -> None:
        gone()

    @prefect.flow(on_cancellation=[lambda flow, run, state: told.append("cancelled")])
    def outer() -> str:
        with pytest.raises(CancelledRun, match="by hand"):
            inner()
        return str(inner(return_state=True).type.value)

    assert outer() == "FAILED"
    assert told == ["Failed", "Failed"]


def test_a_failure_by_a_cancel_is_retried() -> None:
    tries = []

    @prefect.task
    def gone() -> Any:
        return Cancelled()

    @prefect.flow(retries=1)
    def again() -> str:
        tries.append(1)
        if len(tries) == 1:
            gone()
        return "done"

    assert again() == "done"
    assert len(tries) == 2


def test_a_cancel_that_nobody_catches_cancels_our_own_flow() -> None:
    @anabranch.task
    def gone() -> Any:
        return anabranch.states.Cancelled("by hand")

    @anabranch.flow
    def main() -> None:
        gone()

    assert main(return_state=True).is_cancelled()


def test_a_flow_of_prefect_that_is_cancelled_itself_is_cancelled(gates: Callable[[str], Gate]) -> None:
    begun, gate = gates("begun"), gates("gate")

    @prefect.task
    def one() -> int:
        return 1

    @prefect.flow
    def inner() -> None:
        begun.open()
        gate.pass_through()
        one.submit().result()

    @prefect.flow
    def outer() -> str:
        future = inner.submit()
        begun.pass_through()
        assert future.cancel()
        gate.open()
        return str(future.wait().type.value)

    assert outer() == "CANCELLED"
