"""Real clusters: one that the runner started itself, one that is the user's."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.runners.dask.runner import DaskRunner
from tests.integration.dask_runner.driving import Driver, local_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def own() -> Iterator[Driver]:
    driver = Driver(DaskRunner(n_workers=2))
    yield driver
    driver.runner.close()


@pytest.fixture(scope="module")
def lent() -> Iterator[Any]:
    """A cluster of the user's, default settings, and their client."""
    distributed = importlib.import_module("distributed")
    with (
        local_cluster(n_workers=2) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client
