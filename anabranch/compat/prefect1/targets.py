"""Prefect 1's `target=` and `result=`: a task's value in a file of its own; where the file is there, no run is made.

    @task(target="{today}/{task_name}.pkl", result=LocalResult(dir="data"))
      Target.compute_key    the template, filled in       --> the engine asks the store for it
      TargetFiles           a file below the result's dir --> the run is Cached
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.compat.prefect1.carrying import DEEP, UPSTREAM
from anabranch.compat.prefect1.states import Skip
from anabranch.core.asking import told
from anabranch.core.errors import StoreError
from anabranch.core.owners import task_of
from anabranch.core.policies import EVERYTHING
from anabranch.core.stores import Stored

if TYPE_CHECKING:
    from anabranch.core.context import TaskRun
    from anabranch.core.task_spec import TaskSpec

FOLDER = "~/.prefect/results"


class PickleSerializer:
    """Values as cloudpickle writes them."""

    def serialize(self, value: Any) -> bytes:
        return cloudpickle.dumps(value)  # type: ignore[no-any-return]

    def deserialize(self, value: bytes) -> Any:
        return cloudpickle.loads(value)


class JSONSerializer:
    """Values as JSON."""

    def serialize(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def deserialize(self, value: bytes) -> Any:
        return json.loads(value)


class LocalResult:
    """Where values lie: below a folder of this machine.

    Args:
        location: the target of tasks that have none of their own.
        validate_dir: is taken, and changes nothing: the folder is made when it is needed.
    """

    def __init__(
        self, dir: str | None = None, validate_dir: bool = True, location: str | None = None, serializer: Any = None,
        **_: Any,
    ) -> None:  # fmt: skip
        self.dir = str(Path(dir or FOLDER).expanduser().absolute())
        self.location = location
        self.serializer = serializer or PickleSerializer()


class TargetFiles:
    """A result store for the engine: a file for each key."""

    blocks = None

    def __init__(self, result: LocalResult) -> None:
        self.result = result

    def __repr__(self) -> str:
        return f"LocalResult({self.result.dir!r})"

    def _path(self, key: str) -> Path:
        return Path(self.result.dir, key)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def read(self, key: str) -> Stored | None:
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return Stored(self.result.serializer.deserialize(path.read_bytes()), path.stat().st_mtime, None)
        except Exception as error:  # each serializer has errors of its own
            raise StoreError(f"{told(error)} (target {str(path)!r}): delete the file to run the task again") from error

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        if isinstance(value, Skip):  # a skipped run has no value
            return 0
        path = self._path(key)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(self.result.serializer.serialize(value))
            os.replace(beside, path)
        except Exception as error:  # each serializer has errors of its own
            with contextlib.suppress(OSError):
                beside.unlink()
            raise StoreError(f"{told(error)} (target {str(path)!r})") from error
        return path.stat().st_size

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        return True

    def unlock(self, key: str, owner: str) -> None:
        """Nothing: runs of one target write the same file, and the last one stays."""


class Target:
    """The engine's policy of a task with a target.

    Args:
        template: a text with names in braces, or a function of these names.
    """

    caches = True
    reads = EVERYTHING

    def __init__(self, template: Any, result: LocalResult) -> None:
        self.template = template
        self.result_store = TargetFiles(result)

    @property
    def cache_key_fn(self) -> Any:
        """Itself; its being there says that it wants the Task."""
        return self

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str:
        about = task_of(spec).plain_fn.about
        now = datetime.now(UTC)
        known = {
            **(about.parameters or {}), "parameters": dict(about.parameters or {}), "flow_name": about.flow_name,
            "flow_run_id": run.flow_run_id, "flow_run_name": run.flow_run_name, "task_name": run.task_name,
            "task_run_id": run.id, "task_run_name": run.name, "map_index": run.index, "date": now,
            "scheduled_start_time": now, "today": now.strftime("%Y-%m-%d"), "today_nodash": now.strftime("%Y%m%d"),
            **{name: value for name, value in inputs.items() if name not in (UPSTREAM, DEEP)},
        }  # fmt: skip
        if callable(self.template):
            return str(self.template(**known))
        try:
            return str(self.template.format(**known))
        except KeyError as error:
            raise ValueError(f"target={self.template!r} names {error}, which neither flow nor task has") from None


def options_of(task: Any, flow_result: Any) -> dict[str, Any]:
    """Return the options of a node's task that has a target; {} of one that has none."""
    asked = getattr(task, "attributes", {})
    result = asked.get("result") or flow_result
    target = asked.get("target") or getattr(asked.get("result"), "location", None)
    if not target or asked.get("checkpoint") is False:
        return {}
    if result is None:
        result = LocalResult()
    if not isinstance(result, LocalResult):
        raise NotImplementedError(
            f"anabranch has no {type(result).__name__} for target={target!r}: give LocalResult(dir=...), or write the "
            "file in the task"
        )
    return {"cache_policy": Target(target, result), "persist_result": True}

