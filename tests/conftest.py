"""What every tier shares."""

from __future__ import annotations

import logging

import pytest

from anabranch.core import secrets
from tests.clock import Clock

pytest_plugins = ["tests.beds"]


@pytest.fixture(autouse=True)
def no_secrets_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process knows the secrets it has read for good; those of one test are not the next one's."""
    monkeypatch.setattr(secrets, "_known", ())


@pytest.fixture(autouse=True)
def propagating_logs() -> None:
    """A session takes anabranch's log lines to its own handler; `caplog` of the next test must hear them again."""
    logger = logging.getLogger("anabranch")
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def clock() -> Clock:
    return Clock()
