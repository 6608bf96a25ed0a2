"""A map with keep="none" drops its values on the worker; what went wrong is kept all the same."""

from __future__ import annotations

import pytest

from anabranch import flow, task
from anabranch.core.errors import ResultReleased


@task
def odd_ones_fail(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


@task
def doubled(n: int) -> int:
    return 2 * n


def test_errors_are_kept_and_values_are_not(runner: str) -> None:
    @flow
    def main() -> str:
        several = odd_ones_fail.map(range(6), keep="none")
        states = several.wait()
        assert [state.name for state in states] == ["Completed", "Failed"] * 3
        assert several.failed() == [1, 3, 5]
        assert [str(several[n].exception()) for n in (1, 3, 5)] == ["1 is odd", "3 is odd", "5 is odd"]
        with pytest.raises(ValueError, match="3 is odd"):
            several[3].result()
        with pytest.raises(ResultReleased, match="keep"):
            several[2].result()
        return "data"

    assert main() == "data"


def test_what_reads_a_value_that_was_not_kept_is_told_why(runner: str) -> None:
    @flow
    def main() -> list[str]:
        several = odd_ones_fail.map([0, 1], keep="none")
        several.wait()
        found = doubled.map(several)
        assert [state.name for state in found.wait()] == ["Failed", "TriggerFailed"]
        return [type(found[n].exception()).__name__ for n in (0, 1)]

    assert main() == ["ResultReleased", "UpstreamError"]


def test_a_failure_fails_the_flow_though_no_value_is_kept(runner: str) -> None:
    @flow
    def main(count: int) -> None:
        odd_ones_fail.map(range(0, count), keep="none")

    with pytest.raises(ValueError, match="1 is odd"):
        main(2)
    assert main(1) is None
