"""The Task that hooks are given travels by name, and light."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from anabranch import task
from anabranch.core.module_state import carried
from anabranch.core.owners import task_of

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.task_spec import TaskSpec

LOADED = """
import pickle, sys
from anabranch.core.owners import task_of
spec = pickle.load(open(sys.argv[1], "rb"))
print("anabranch.tasks" in sys.modules, "anabranch.engine.dispatch" in sys.modules)
print(type(task_of(spec)).__name__, task_of(spec) is task_of(spec), task_of(spec).name)
"""


def sent(made: Any) -> bytes:
    """The pickle of a task's spec as a worker gets it."""
    return pickle.dumps(carried(made.spec, pickle.dumps))


def test_a_hook_brings_a_worker_no_more_than_it_needs(tmp_path: Path) -> None:
    made = task(name="length", on_failure=[print])(len)
    file = tmp_path / "spec"
    file.write_bytes(sent(made))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(file)], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["False False", "Task True length"]


def test_what_was_sent_may_be_sent_on() -> None:
    made = task(name="length", on_failure=[print])(len)
    again: TaskSpec = pickle.loads(pickle.dumps(pickle.loads(sent(made))))
    assert task_of(again).name == "length"
