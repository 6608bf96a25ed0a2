"""The zoo's runners: one session each for the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch import DaskRunner, InlineRunner, ProcessRunner, RayRunner, ThreadRunner
from tests.acceptance.sessions import made, over, placed
from tests.engines import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS: dict[str, Callable[[], object]] = {
    "inline": InlineRunner,
    "thread": lambda: ThreadRunner(max_workers=2),
    "process": lambda: ProcessRunner(max_workers=2),
    "dask": lambda: DaskRunner(address=ENGINES["dask"].address()),
    "ray": lambda: RayRunner(address=ENGINES["ray"].address()),
}


@pytest.fixture(scope="module", params=over("inline", "thread", "process"))
def near(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The runners on which everything is tried."""
    with made(KINDS[request.param](), tmp_path_factory.mktemp(request.param)) as session, placed(session):
        yield request.param


@pytest.fixture(scope="module", params=over("dask", "ray"))
def far(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The runners on which pairs are sampled."""
    with made(KINDS[request.param](), tmp_path_factory.mktemp(request.param)) as session, placed(session):
        yield request.param
