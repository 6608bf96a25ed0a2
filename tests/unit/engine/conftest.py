"""What the tests of the dispatcher share."""

from __future__ import annotations

import pytest

from tests.unit.engine.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
