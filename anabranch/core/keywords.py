"""Options as they are written: the keywords of `@task`, `@flow` and `with_options`, for type checkers and editors.

What each option does stands in `core.options`, which a house test holds equal to this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from anabranch.core.policies import CachePolicy

Seconds = float | timedelta | None
Delays = Seconds | list[float] | list[timedelta] | tuple[float, ...] | Callable[[int], Any]
Hooks = Callable[..., Any] | Iterable[Callable[..., Any]] | None
Texts = str | Iterable[str] | None
Template = str | Callable[..., str] | None
Chunk = int | Literal["auto"] | None
Keep = Literal["values", "none"]


class RunKeywords(TypedDict, total=False):
    """What tasks and flows have in common."""

    name: str | None
    description: str | None
    version: str | None
    tags: Texts
    retries: int | None
    max_retries: int | None
    retry_delay_seconds: Delays
    retry_delay: Delays
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[..., Any] | None
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None
    timeout_seconds: Seconds
    timeout: Seconds
    persist_result: bool | None
    checkpoint: bool | None
    log_prints: bool | None
    log_stdout: bool | None
    on_running: Hooks
    on_completion: Hooks
    on_failure: Hooks
    on_cancellation: Hooks
    on_crashed: Hooks
    on_retry: Hooks
    state_handlers: Hooks
    concurrency_limit: int | None


class TaskKeywords(RunKeywords, total=False):
    """Options of `@task`."""

    task_run_name: Template
    crash_retries: int | None
    cache_policy: CachePolicy | None
    cache_key_fn: Callable[..., Any] | None
    cache_expiration: Seconds
    cache_expiration_seconds: Seconds
    cache_for: Seconds
    refresh_cache: bool
    trigger: Callable[..., Any] | None
    on_commit: Hooks
    on_rollback: Hooks
    cpus: float | None
    gpus: float | None
    memory: float | str | None
    resources: Mapping[str, float] | None
    priority: int
    async_concurrency: int
    chunk: Chunk
    window: Chunk
    keep: Keep
    log_items: bool
    detach: bool
    seed: int | None


class FlowKeywords(RunKeywords, total=False):
    """Options of `@flow`."""

    flow_run_name: Template
    runner: Any
    task_runner: Any
    executor: Any
    validate_parameters: bool
    on_exit: Literal["wait", "cancel"]
    strict: bool
    resumable: bool | None
    run_key: str | None
    seed: int | None
