"""Loggers under Prefect's names."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.compat.prefect.exceptions import MissingContextError

if TYPE_CHECKING:
    from collections.abc import Iterator

PrefectLogAdapter = logging.LoggerAdapter


def get_logger(name: str | None = None) -> logging.Logger:
    """Return the logger of this name below "prefect"."""
    if name is None or name == "prefect":
        return logging.getLogger("prefect")
    return logging.getLogger(name if name.startswith("prefect.") else f"prefect.{name}")


def get_run_logger(context: Any = None, **kwargs: Any) -> Any:
    """Return the logger of the run around this code; raises MissingContextError outside of runs.

    Args:
        kwargs: fields for its records.
    """
    if logging.getLogger("prefect.task_runs").disabled:
        return logging.getLogger("prefect.task_runs")
    try:
        found = logs.get_run_logger()
    except MissingContextError:
        raise MissingContextError("There is no active flow or task run context.") from None
    return logging.LoggerAdapter(found, kwargs) if kwargs else found


def logger_here(otherwise: str) -> Any:
    """Return the logger of the run around this code; outside of runs the one of this name."""
    try:
        return logs.get_run_logger()
    except MissingContextError:
        return logging.getLogger(otherwise)


@contextmanager
def disable_logger(name: str) -> Iterator[None]:
    """Silence one logger in this block."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def disable_run_logger() -> Iterator[None]:
    """Let `get_run_logger` give silent loggers in this block, outside of runs too: for tests of plain functions."""
    with disable_logger("prefect.flow_runs"), disable_logger("prefect.task_runs"):
        yield


def flow_run_logger(flow_run: Any, flow: Any = None, **kwargs: Any) -> Any:
    """Return a logger for a flow run."""
    return logging.LoggerAdapter(get_logger("prefect.flow_runs"), {"flow_run_name": flow_run.name, **kwargs})


def task_run_logger(task_run: Any, task: Any = None, flow_run: Any = None, flow: Any = None, **kwargs: Any) -> Any:
    """Return a logger for a task run."""
    return logging.LoggerAdapter(get_logger("prefect.task_runs"), {"task_run_name": task_run.name, **kwargs})
