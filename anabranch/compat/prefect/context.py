"""Prefect's `prefect.context`: what runs around this code, as views that are made when one asks."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from anabranch.compat.prefect.exceptions import MissingContextError
from anabranch.compat.prefect.runs import FlowRun, TaskRun
from anabranch.compat.prefect.settings import get_current_settings
from anabranch.compat.prefect1 import running
from anabranch.compat.prefect1.running import get
from anabranch.core import context as ours
from anabranch.core.owners import task_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EngineContext", "FlowRunContext", "RunContext", "SettingsContext", "TagsContext", "TaskRunContext",
    "get", "get_run_context", "get_settings_context", "tags",
]  # fmt: skip


@dataclass
class RunContext:
    """Base of the two kinds of context."""

    start_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    client: Any = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def get(cls) -> Self | None:
        """Return the context of this kind around this code; None where there is none."""
        return None

    @classmethod
    def model_construct(cls, **given: Any) -> Self:
        """Return a context made by hand."""
        made = cls.__new__(cls)
        made.__dict__.update(given)
        return made

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        """Return the context as a dict."""
        return dict(vars(self))


@dataclass
class FlowRunContext(RunContext):
    """The flow run around this code."""

    flow: Any = None
    flow_run: Any = None
    task_runner: Any = None
    log_prints: bool = False
    persist_result: bool = False

    @classmethod
    def get(cls) -> Self | None:
        here = ours.current_flow.get()
        if here is None:
            return None
        flow = here.flow
        return cls(
            flow=flow, flow_run=FlowRun(_Began(here)), parameters=dict(here.parameters), log_prints=here.log_prints,
            task_runner=getattr(flow, "task_runner", None),
        )  # fmt: skip


EngineContext = FlowRunContext


@dataclass
class TaskRunContext(RunContext):
    """The task run around this code."""

    task: Any = None
    task_run: Any = None
    log_prints: bool = False
    persist_result: bool = False

    @classmethod
    def get(cls) -> Self | None:
        here = ours.task_around()
        if here is None:
            return None
        run = here.run
        task = None if here.spec is None else task_of(here.spec)
        return cls(task=task, task_run=TaskRun(run), parameters=dict(here.parameters))


class _Began:
    """A flow run's context in the form of its run."""

    start_time = 0.0
    end_time = 0.0
    parent: ClassVar[Any] = None

    def __init__(self, here: ours.FlowContext) -> None:
        self.id, self.name, self.flow_name = here.id, here.name, here.flow_name
        self.attempt, self.tags, self.parameters, self.version = here.attempt, here.tags, here.parameters, here.version


@dataclass
class TagsContext:
    """The tags of the blocks around this code."""

    current_tags: set[str] = field(default_factory=set)

    @classmethod
    def get(cls) -> TagsContext:
        """Return the tags here; an empty set where there are none."""
        here = ours.current_task.get()
        return cls({*ours.current_tags.get(), *(() if here is None else here.run.tags)})


@dataclass
class SettingsContext:
    """The settings here."""

    settings: Any = None
    profile: Any = None

    @classmethod
    def get(cls) -> SettingsContext:
        """Return the settings here."""
        return cls(get_current_settings())


def get_settings_context() -> SettingsContext:
    """Return the settings here."""
    return SettingsContext.get()


def get_run_context() -> FlowRunContext | TaskRunContext:
    """Return the context of the innermost run; raises MissingContextError outside of runs."""
    found = TaskRunContext.get() if ours.current_task.get() is not None else FlowRunContext.get()
    if found is None:
        raise MissingContextError("No run context available. You are not in a flow or task run context.")
    return found


@contextmanager
def tags(*new_tags: str) -> Iterator[set[str]]:
    """Add tags to the runs that begin in this block; gives all tags here."""
    with ours.tags(*new_tags) as found:
        yield set(found)


class _Context(ModuleType):
    """The module, which Prefect 1's programs read as a mapping too: `prefect.context["today"]`."""

    def __getitem__(self, name: str) -> Any:
        return running.item(name)

    def __reduce__(self) -> Any:
        return (importlib.import_module, (self.__name__,))  # pickle knows modules by their exact class

    def __contains__(self, name: str) -> bool:
        return name in running.NAMES

    def __getattr__(self, name: str) -> Any:
        if name not in running.NAMES:
            raise AttributeError(f"module 'prefect.context' has no attribute {name!r}")
        return running.item(name)


sys.modules[__name__].__class__ = _Context
