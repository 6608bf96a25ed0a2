"""The engines that tests borrow: one Dask and one Ray, each from the first test that asks for it to the last.

Tests on an engine run together: an engine that idles beside tests on threads takes from their two processors. Those
that start one of their own come behind those that borrow, as a process can have but one Ray.
"""

from __future__ import annotations

import importlib
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

BORROWERS = {"contract", "zoo"}  # folders whose tests on Dask and Ray borrow them
FAILED = pytest.StashKey[bool]()


def _dask(stack: ExitStack) -> str:
    distributed = importlib.import_module("distributed")
    cluster: Any = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    )
    return str(stack.enter_context(cluster).scheduler_address)


def _ray(stack: ExitStack) -> str:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    stack.callback(ray.shutdown)
    return str(ray.get_runtime_context().gcs_address)


class Engine:
    """An engine that is started when its address is first asked for; runners that borrow it never end it."""

    def __init__(self, start: Callable[[ExitStack], str]) -> None:
        self._start = start
        self._stack = ExitStack()
        self._address = ""

    def address(self) -> str:
        self._address = self._address or self._start(self._stack)
        return self._address

    def end(self) -> None:
        self._address = ""
        self._stack.close()


ENGINES = {"dask": Engine(_dask), "ray": Engine(_ray)}


def engine_of(item: pytest.Item | None) -> str:
    """The engine that a test is on, "" for none."""
    return "" if item is None else next((name for name in ENGINES if item.get_closest_marker(name)), "")


def borrowed(item: pytest.Item | None) -> str:
    """The engine that a test may borrow, "" for none."""
    if item is None or item.path.relative_to(item.config.rootpath).parts[1] not in BORROWERS:
        return ""
    return engine_of(item)


def failed(item: pytest.Item) -> bool:
    """Whether this test has failed, and so may have broken the engine that it was on."""
    return item.stash.get(FAILED, False)


@pytest.fixture
def dask_address() -> str:
    return ENGINES["dask"].address()


@pytest.fixture
def ray_address() -> str:
    return ENGINES["ray"].address()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what needs no engine, then what is on Dask, then what is on Ray; of each what borrows it comes first."""
    engines = list(ENGINES)

    def group(item: pytest.Item) -> tuple[int, bool]:
        engine = engine_of(item)
        return (engines.index(engine) + 1, not borrowed(item)) if engine else (0, False)

    items.sort(key=group)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """End an engine that nobody borrows next, once everything else has let it go."""
    try:
        return (yield)
    finally:
        engine = borrowed(item)
        if engine and (failed(item) or borrowed(nextitem) != engine):
            ENGINES[engine].end()
