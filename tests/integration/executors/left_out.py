"""Tests of CPython's executors that are not run over ours, each with the reason."""

from __future__ import annotations

_THREADS = "reads `_threads`: threads are the runner's, not the executor's"
_PROCESSES = "reads `_processes` or starts a ProcessPoolExecutor: processes are the runner's, not the executor's"
_POOL = "tests CPython's own class by its name"

LEFT_OUT: dict[str, str] = {
    "ThreadsShutdown.test_threads_terminate": _THREADS,
    "ThreadsShutdown.test_context_manager_shutdown": _POOL,
    "ThreadsShutdown.test_del_shutdown": _POOL,
    "ThreadsShutdown.test_shutdown_no_wait": _POOL,
    "test_thread_names_assigned": _POOL,
    "test_thread_names_default": _POOL,
    "test_saturation": _THREADS,
    "test_idle_thread_reuse": _THREADS,
    "test_hang_global_shutdown_lock": _POOL,
    "test_default_workers": "counts all processors of the machine; ours those that this process may use",
    "test_processes_terminate": _PROCESSES,
    "ProcessesShutdown.test_context_manager_shutdown": _POOL,
    "ProcessesShutdown.test_del_shutdown": _POOL,
    "ProcessesShutdown.test_shutdown_no_wait": _POOL,
    "test_max_workers_too_large": "Windows only",
    "test_killed_child": "the pool breaks; ours runs the call again on another worker",
    "test_traceback": "wants the worker's traceback as `__cause__`; ours is a note of the exception, printed with it",
    "test_max_tasks_per_child": "an option of ProcessRunner, not of the executor",
    "test_max_tasks_per_child_defaults_to_spawn_context": "an option of ProcessRunner, not of the executor",
    "test_max_tasks_early_shutdown": "an option of ProcessRunner, not of the executor",
    "test_ressources_gced_in_workers": "a Manager's proxies have a key that only multiprocessing's own children know",
    "test_idle_process_reuse_one": _PROCESSES,
    "test_idle_process_reuse_multiple": _PROCESSES,
}
