"""Runs as Prefect's hooks and contexts show them: views of ours, made when one is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.run_ids import id_of
from anabranch.compat.prefect.run_states import State

if TYPE_CHECKING:
    import uuid


class _Run:
    """What both kinds of run have."""

    def __init__(self, run: Any, state: State | None = None) -> None:
        self._run = run
        self._state = state

    @property
    def id(self) -> uuid.UUID:
        return id_of(self._run.id)

    @property
    def name(self) -> str:
        return str(self._run.name)

    @property
    def tags(self) -> list[str]:
        return list(self._run.tags)

    @property
    def run_count(self) -> int:
        return int(self._run.attempt)

    @property
    def state(self) -> State | None:
        found = self._state or getattr(self._run, "state", None)
        return None if found is None else State.of(found)

    @property
    def state_name(self) -> str | None:
        return None if self.state is None else self.state.name

    @property
    def state_type(self) -> Any:
        return None if self.state is None else self.state.type

    @property
    def start_time(self) -> datetime | None:
        return _time(self._run.start_time)

    @property
    def end_time(self) -> datetime | None:
        return _time(self._run.end_time)

    @property
    def expected_start_time(self) -> datetime | None:
        return self.start_time

    @property
    def total_run_time(self) -> timedelta:
        start, end = self.start_time, self.end_time
        return timedelta(0) if start is None else (end or datetime.now(UTC)) - start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Run) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={str(self.id)!r}, name={self.name!r})"


class TaskRun(_Run):
    """One run of a task."""

    @property
    def flow_run_id(self) -> uuid.UUID | None:
        return id_of(self._run.flow_run_id) if self._run.flow_run_id else None

    @property
    def task_key(self) -> str:
        return str(self._run.task_name)

    @property
    def dynamic_key(self) -> str:
        return str(self._run.index)

    @property
    def flow_run_run_count(self) -> int:
        return 0


class FlowRun(_Run):
    """One run of a flow."""

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self._run.parameters)

    @property
    def parent_flow_run_id(self) -> uuid.UUID | None:
        parent = getattr(self._run, "parent", None)
        return None if parent is None else id_of(parent.id)

    @property
    def flow_version(self) -> str | None:
        return getattr(self._run, "version", None) or None

    @property
    def flow_name(self) -> str:
        return str(self._run.flow_name)

    deployment_id = None
    parent_task_run_id = None
    job_variables = None
    empirical_policy = None


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def view(run: Any, state: State | None = None) -> Any:
    """Return a run of ours as Prefect has it."""
    if isinstance(run, _Run):
        return run
    return (TaskRun if hasattr(run, "map_id") else FlowRun)(run, state)
