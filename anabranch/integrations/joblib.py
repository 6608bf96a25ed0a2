"""A backend for joblib, and so for scikit-learn's `n_jobs`: `parallel_config("anabranch")`.

    Parallel --batch--> Backend: at most n_jobs at a time --> Executor --> runner
             <-callback-- the executor's own thread, or the thread that ran it: it pulls the user's iterator

`import anabranch` makes the name known to joblib, before or after joblib is imported; this file is loaded when it is
used. A program that never names the backend pays nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, SequentialBackend, ThreadingBackend
from joblib.parallel import ParallelBackendBase, register_parallel_backend

from anabranch.core.context import task_around
from anabranch.core.machine import usable_cpus
from anabranch.integrations import inner_threads
from anabranch.integrations.executor import Executor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Backend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's batches on a runner; see the module's head.

    Args:
        runner: a runner, or the name of a shared one. None: the program's own.

    Batches of a nested `Parallel` run one after another, on processes in as many threads as the worker may use. Data is
    pickled, with its large buffers in shared memory; `max_nbytes`, `mmap_mode` and `temp_folder` change nothing.
    """

    default_n_jobs = -1  # joblib's own 1 would never come here from `n_jobs=None`
    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    inner_max_num_threads: int | None = None  # joblib sets it

    def __init__(self, runner: Any = None, **given: Any) -> None:
        super().__init__(**given)
        self._runner = runner
        self._executor: Executor | None = None
        self._most = 1
        self._places = 0  # taken, of `_most`
        self._sent: set[Future[Any]] = set()
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], object]]] = deque()
        self._lock = threading.Lock()
        self._blas = contextlib.ExitStack()  # the limit on threads of BLAS in this process, while batches run here

    @property
    def supports_sharedmem(self) -> bool:
        return self._on().in_process

    @property
    def uses_threads(self) -> bool:
        return self._on().in_process

    def _on(self) -> Executor:
        """Return the executor, which stays: joblib ends a backend after each `Parallel`."""
        with self._lock:
            if self._executor is None:
                self._executor = Executor(self._runner, chunk=1)
            return self._executor

    # -- what joblib asks ------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many batches run at a time; negative numbers count down from all workers, on threads from cpus."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or _elsewhere():
            return 1
        executor = self._on()
        every = executor.all_slots  # those of the first moment may be one: a Ray starts its workers one by one
        if n_jobs < 0:
            most = min(every, usable_cpus()) if executor.in_process else every
            return max(most + 1 + n_jobs, 1)
        return n_jobs if executor.elastic else min(n_jobs, every)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        self._most = self.effective_n_jobs(n_jobs)
        if self.inner_max_num_threads is not None:
            inner_threads.available()
        if self._most == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        return self._most

    def start_call(self) -> None:
        if self.inner_max_num_threads is not None and self._on().in_process:
            self._blas.enter_context(inner_threads.blas(self.inner_max_num_threads))

    def stop_call(self) -> None:
        self._blas.close()

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object]) -> None:
        if self.inner_max_num_threads is not None:
            func = inner_threads.Limited(func, self.inner_max_num_threads, self._on().in_process)
        with self._lock:
            self._waiting.append((func, callback))
        self._send()

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        with self._lock:
            self._waiting.clear()
            sent = tuple(self._sent)
        for future in sent:
            future.cancel()

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        level = (self.nesting_level or 0) + 1
        kind = SequentialBackend if self.uses_threads or level > 1 else ThreadingBackend
        return kind(nesting_level=level), None

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Lend the slot of a task that waits here to the batches it waits for."""
        with self._on().lent_slot():
            yield

    # -- at most so many at a time ---------------------------------------------------------------

    def _send(self) -> None:
        """Send what waits, as far as there is room."""
        executor = self._on()
        while True:
            with self._lock:
                if self._places >= self._most or not self._waiting:
                    return
                func, callback = self._waiting.popleft()
                self._places += 1
            try:
                future = executor.submit(func)
            except RuntimeError as error:  # joblib hears of it where it waits
                future = Future()
                future.set_exception(error)
            self._sent.add(future)
            future.add_done_callback(partial(self._ended, callback))

    def _ended(self, callback: Callable[[Any], object], future: Future[Any]) -> None:
        with self._lock:
            self._places -= 1
        self._sent.discard(future)
        self._send()
        callback(future)


def register() -> None:
    """Make "anabranch" known to joblib as a backend; `import anabranch` does so by itself."""
    register_parallel_backend("anabranch", Backend)


def _elsewhere() -> bool:
    """Return whether this is a task on a worker in another process, where no runner of its own is to be started."""
    task = task_around()
    return task is not None and task.port is not None and not task.port.in_process
