"""The value of an ordered run: what cannot be kept does not keep the run from its end."""

from __future__ import annotations

from typing import Any

from anabranch.core.errors import ResultReleased
from anabranch.core.states import ValueSource
from anabranch.runs import kept_results

UNUSED: Any = None


class Source(ValueSource):
    def __init__(self, found: object) -> None:
        self.found = found

    def value(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def origin(self) -> Any:
        raise NotImplementedError


def test_a_value_that_is_gone_is_not_kept() -> None:
    assert kept_results.row_of(UNUSED, "run", Source(ResultReleased("it was let go"))) is None


def test_the_value_of_a_task_run_is_kept_as_a_plain_one() -> None:
    assert kept_results.row_of(UNUSED, "run", Source([1])) == kept_results.row_of(UNUSED, "run", [1]) is not None
