"""The arguments of Prefect's `@flow`: checked as Prefect checks them, and turned into ours."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.changes import changed
from anabranch.compat.prefect.exceptions import InvalidNameError
from anabranch.compat.prefect.hooks import checked, engine_hooks
from anabranch.compat.prefect.kept import KeepsValue, asked_store
from anabranch.compat.prefect.settings import setting
from anabranch.compat.prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from anabranch.compat.prefect.utilities.calls import raise_for_reserved_arguments
from anabranch.compat.prefect.utilities.hashing import file_hash

if TYPE_CHECKING:
    from collections.abc import Callable

HOOKS = ("on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running")
_BANNED = "/%&><"
_CLEARED = frozenset({"persist_result", "result_storage", "result_serializer"})  # by None, in `with_options`


@dataclass
class FlowArguments:
    """What `@flow(...)` was given, and how Prefect reads it."""

    name: Any = None
    version: str | None = None
    flow_run_name: Any = None
    retries: int | None = None
    retry_delay_seconds: float | None = None
    task_runner: Any = None
    description: str | None = None
    timeout_seconds: float | None = None
    validate_parameters: bool = True
    persist_result: bool | None = None
    result_storage: Any = None
    result_serializer: Any = None
    cache_result_in_memory: bool = True
    log_prints: bool | None = None
    on_completion: Any = None
    on_failure: Any = None
    on_cancellation: Any = None
    on_crashed: Any = None
    on_running: Any = None

    def with_changes(self, given: dict[str, Any]) -> FlowArguments:
        """Return the arguments with others laid over; None and NotSet leave one as it is."""
        return changed(self, "Flow", given, _CLEARED)

    def name_of(self, fn: Any) -> str:
        """Return the flow's name; raises TypeError and InvalidNameError."""
        if self.name is not None and not isinstance(self.name, str):
            kind = type(self.name).__name__
            raise TypeError(f"Expected string for flow parameter 'name'; got {kind} instead.{self._hint()}")
        plain = getattr(fn, "__name__", type(fn).__name__)
        name = self.name or plain.replace("_", "-").replace("<lambda>", "unknown-lambda")
        check_name(name)
        return name

    def _hint(self) -> str:
        return " Perhaps you meant to call it? e.g. '@flow(name=get_flow_run_name())'" if callable(self.name) else ""

    def attributes(self, fn: Callable[..., Any]) -> dict[str, Any]:
        """Return the public attributes of the flow; raises TypeError and ValueError as Prefect does."""
        raise_for_reserved_arguments(fn, ["return_state", "wait_for"])
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        hooks = {f"{name}_hooks": checked(found.pop(name), "Flow", name) for name in HOOKS}
        name = self.flow_run_name
        if name is not None and not isinstance(name, str) and not callable(name):
            raise TypeError(f"Expected string or callable for 'flow_run_name'; got {type(name).__name__} instead.")
        del found["name"]
        delay = setting("PREFECT_FLOW_DEFAULT_RETRY_DELAY_SECONDS")
        stored = self.result_storage is not None or self.result_serializer is not None
        return {
            **found,
            **hooks,
            "description": self.description or inspect.getdoc(fn),
            "persist_result": True if self.persist_result is None and stored else self.persist_result,
            "retries": setting("PREFECT_FLOW_DEFAULT_RETRIES") if self.retries is None else self.retries,
            "retry_delay_seconds": delay if self.retry_delay_seconds is None else self.retry_delay_seconds,
            "should_validate_parameters": self.validate_parameters,
            "task_runner": runner_of(self.task_runner),
            "timeout_seconds": float(self.timeout_seconds) if self.timeout_seconds else None,
            "version": self.version or _version(fn),
        }


def check_name(name: str) -> None:
    """Raise InvalidNameError where the name of a flow or deployment has a letter that Prefect's do not."""
    if any(letter in name for letter in _BANNED):
        raise InvalidNameError(
            f"Name {name!r} contains an invalid character. Must not contain any of: {list(_BANNED)}."
        )


def runner_of(given: Any) -> Any:
    """Return a task runner for what `task_runner=` may be given."""
    if given is None:
        return ThreadPoolTaskRunner()
    return given() if isinstance(given, type) else given


def _version(fn: Callable[..., Any]) -> str | None:
    try:
        file = inspect.getsourcefile(inspect.unwrap(fn))
        return None if file is None else file_hash(file)
    except (TypeError, OSError):
        return None


def engine_options(given: dict[str, Any], asked: FlowArguments) -> dict[str, Any]:
    """Return our options for the attributes of a flow."""
    runner = given["task_runner"]
    options: dict[str, Any] = {
        "description": given["description"],
        "flow_run_name": given["flow_run_name"],
        "log_prints": given["log_prints"],
        "persist_result": given["persist_result"],
        "retries": given["retries"],
        "retry_delay_seconds": given["retry_delay_seconds"],
        "timeout_seconds": given["timeout_seconds"],
        "validate_parameters": given["validate_parameters"],
        "version": given["version"],
        **{name: engine_hooks(given[f"{name}_hooks"]) for name in HOOKS},
    }
    store = asked_store(given["result_storage"], given["result_serializer"]) if given["persist_result"] else None
    if store is not None:
        options["on_completion"] = (KeepsValue(store), *options["on_completion"])
    if given["retries"]:  # in Prefect task runs are made again, unless their results persist
        options["resumable"] = False
    if asked.task_runner is not None:
        options["runner"] = runner.engine_runner() if isinstance(runner, TaskRunner) else runner
    return options
