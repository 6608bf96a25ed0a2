"""Sessions under limits, one after another in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch import ThreadRunner
from anabranch import session as sessions
from tests.integration import test_limits
from tests.integration.shared_limits.here import Here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT = 20.0


@pytest.fixture
def on(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Here]]:
    made: list[Here] = []
    before = sessions.use(None)
    for module in (request.module, test_limits):
        cloudpickle.register_pickle_by_value(module)

    def make(runner: Any = None) -> Here:
        made.append(Here(tmp_path, runner or ThreadRunner(max_workers=6)))
        sessions.use(made[-1].session)
        return made[-1]

    yield make
    for module in (request.module, test_limits):
        cloudpickle.unregister_pickle_by_value(module)
    sessions.use(before)
    for one in made:
        one.session.close()


@pytest.fixture
def here(on: Callable[..., Here]) -> Here:
    return on()
