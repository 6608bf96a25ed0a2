"""Prefect 1's `prefect.context` while a graph runs: what a task reads of its run, by names."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.logging.loggers import logger_here
from anabranch.core import context as ours

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class About:
    """What a task is told of its flow."""

    flow_name: str | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True)
class Round:
    """One call of a task's function.

    Attributes:
        count: how often the task has looped, from 1.
        result: what its last loop gave.
    """

    about: About = field(default_factory=About)
    count: int = 1
    result: Any = None


_NOTHING = Round()
_round: ContextVar[Round] = ContextVar("anabranch_prefect1_round", default=_NOTHING)


@contextmanager
def within(here: Round) -> Iterator[None]:
    """Let code in this block read from `prefect.context` of this call."""
    token = _round.set(here)
    try:
        yield
    finally:
        _round.reset(token)


def logger() -> Any:
    """Return the logger of the run around this code; outside of runs that of "prefect"."""
    return logger_here("prefect")


def _task(name: str) -> Any:
    here = ours.task_around()
    return None if here is None else getattr(here.run, name)


def _day(form: str) -> str:
    return datetime.now(UTC).strftime(form)


_READ: dict[str, Any] = {
    "date": lambda: datetime.now(UTC),
    "flow_name": lambda: _round.get().about.flow_name,
    "flow_run_id": lambda: _task("flow_run_id"),
    "flow_run_name": lambda: _task("flow_run_name"),
    "logger": logger,
    "map_index": lambda: _task("index"),
    "parameters": lambda: dict(_round.get().about.parameters or {}),
    "scheduled_start_time": lambda: datetime.now(UTC),
    "task_loop_count": lambda: _round.get().count,
    "task_loop_result": lambda: _round.get().result,
    "task_name": lambda: _task("task_name"),
    "task_run_count": lambda: _task("attempt"),
    "task_run_id": lambda: _task("id"),
    "task_run_name": lambda: _task("name"),
    "today": lambda: _day("%Y-%m-%d"),
    "today_nodash": lambda: _day("%Y%m%d"),
}
NAMES = frozenset(_READ)


def get(name: str, default: Any = None) -> Any:
    """Return what the context has under this name here; `default` where there is nothing."""
    found = _READ[name]() if name in _READ else None
    return default if found is None else found


def item(name: str) -> Any:
    """Return what the context has under this name; raises KeyError for a name that it does not know."""
    return _READ[name]()
