"""`pytest -p anabranch.compat.pytest_prefect`: tests of programs written for Prefect, run as they are.

The names of Prefect are there before any test module is imported. Each test has a record and a result store of its
own, as with Prefect's `prefect_test_harness`; `caplog` gets the lines of runs.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import anabranch.compat.prefect as prefect
from anabranch.compat.prefect.testing.utilities import own_home

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = prefect.__all__


@pytest.fixture(autouse=True)
def _prefect_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each test a record and a result store of its own."""
    with own_home(str(tmp_path_factory.mktemp("anabranch"))):
        yield


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Let lines of runs, which have their own handler, come to `caplog` too."""
    caplog.set_level(logging.DEBUG, "prefect")
    return caplog
