"""What every tier shares."""

from __future__ import annotations

import logging

import pytest

from tests.clock import Clock


@pytest.fixture(autouse=True)
def propagating_logs() -> None:
    """A session takes anabranch's log lines to its own handler; `caplog` of the next test must hear them again."""
    logger = logging.getLogger("anabranch")
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def clock() -> Clock:
    return Clock()
