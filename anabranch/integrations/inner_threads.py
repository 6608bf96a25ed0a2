"""joblib's `inner_max_num_threads`: how many threads the libraries under NumPy start inside a batch.

    a worker elsewhere   a batch sets the variables (libraries that it loads read them), and limits what is loaded
    in this process      OpenMP has a number for each thread, and the batch sets its own; BLAS has one for the whole
                         process, which is set before the first batch and put back after the last
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import ConfigurationError
from anabranch.core.native_threads import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def available() -> None:
    """Raise ConfigurationError where threadpoolctl, which does it, is not installed."""
    if importlib.util.find_spec("threadpoolctl") is None:
        raise ConfigurationError(
            "inner_max_num_threads needs threadpoolctl (pip install threadpoolctl); "
            "ProcessRunner(native_threads=...) as the runner does without"
        )


class Limited:
    """A batch that computes with so many threads of each library; it travels to workers."""

    def __init__(self, batch: Callable[[], Any], threads: int, here: bool) -> None:
        self._batch = batch
        self._threads = threads
        self._here = here

    def __call__(self) -> Any:
        with _limits(self._threads, "openmp") if self._here else _ELSEWHERE.limits(self._threads):
            return self._batch()


def blas(threads: int) -> contextlib.AbstractContextManager[Any]:
    """Return a block in which the BLAS of this process has so many threads."""
    return _limits(threads, "blas")


def _limits(threads: int, kind: str | None) -> contextlib.AbstractContextManager[Any]:
    made: Any = importlib.import_module("threadpoolctl")
    block: contextlib.AbstractContextManager[Any] = made.threadpool_limits(threads, kind)
    return block


class Elsewhere:
    """The limits of a worker where batches may run side by side: the first sets them, the last puts them back.

    Each with its own would put back what another one has set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches = 0
        self._kept = contextlib.ExitStack()

    @contextlib.contextmanager
    def limits(self, threads: int) -> Iterator[None]:
        with self._lock:
            if not self._batches:
                self._kept.callback(_put_back, {name: os.environ.get(name) for name in VARIABLES})
                os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
                self._kept.enter_context(_limits(threads, None))
            self._batches += 1
        try:
            yield
        finally:
            with self._lock:
                self._batches -= 1
                if not self._batches:
                    self._kept.close()


def _put_back(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


_ELSEWHERE = Elsewhere()
