"""A thread runner and the log of its events; threads that were there before are nobody's business."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.runners.thread.runner import ThreadRunner
from tests.unit.runners.thread.chunks import STRANGERS, Log, call_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def make(log: Log) -> Iterator[Callable[..., ThreadRunner]]:
    made: list[ThreadRunner] = []

    def build(size: int | None = None, run_chunk: Any = call_args) -> ThreadRunner:
        runner = ThreadRunner(size, run_chunk=run_chunk)
        made.append(runner)
        runner.start(log)
        return runner

    yield build
    for runner in made:
        runner.close(cancel=True)


@pytest.fixture(autouse=True, scope="module")
def strangers() -> None:
    """Runners that other files' tests keep open."""
    STRANGERS.update(threading.enumerate())
