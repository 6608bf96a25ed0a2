"""Seed 004, block by block and character by character, under `python -m anabranch.compat prefect`.

The blocks lie in `seed_004/`, a file each. Sleeps and retry delays are a hundredth as long; random numbers are drawn
from a seed. A block without a call of its own is called here.

Not Python, and tested elsewhere: the server and its profiles (`test_seed_commands.py`). Without a block of its own:
task runners (`prefect_programs/dask_runner.py`, `process_runner.py`), work pools, automations, Prefect Cloud.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

BLOCKS = Path(__file__).parent / "seed_004"
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.sampled(3, "a Python for each block; what they ask for has tests of its own")
# In the place of the interpreter's start: time passes a hundred times as fast for the blocks.
SITE = """
import random, time
slept = time.sleep
time.sleep = lambda seconds: slept(seconds / 100)
random.seed({seed})
"""


def block(name: str) -> str:
    return (BLOCKS / f"{name}.txt").read_text(encoding="utf-8")


def run(folder: Path, *parts: str, seed: int = 4, told: str = "") -> str:
    """Run blocks and lines as one script, in this folder; returns what it printed.

    Args:
        told: has to be in the log.
    """
    (folder / "script.py").write_text("\n".join(parts), encoding="utf-8")
    (folder / "sitecustomize.py").write_text(SITE.format(seed=seed), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANABRANCH", "PREFECT"))}
    env = {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "ANABRANCH_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "anabranch.compat", "prefect", "script.py"],
        env=env, cwd=folder, capture_output=True, text=True, timeout=55,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert told in done.stderr
    return done.stdout


def test_all_blocks_of_the_seed_are_here() -> None:
    assert len(list(BLOCKS.glob("*.txt"))) == 11


def test_a_simple_workflow(tmp_path: Path) -> None:
    out = run(tmp_path, block("simple_workflow"))
    assert re.fullmatch(r"arbitrary calc: r=\d+, mean=\d+\.\d+\n", out)


def test_concurrent_task_execution(tmp_path: Path) -> None:
    tasks = block("simple_workflow").partition("# Define a function as flow")[0]
    # As in Prefect 3, a flow that returns futures gives their states to its caller.
    called = "r, m = analysis()\nprint(analysis.name, 1 <= m.result() <= 100, r.result() > 0)"
    assert run(tmp_path, tasks, block("concurrent_execution"), called) == "concurrent analysis True True\n"


def test_timeouts(tmp_path: Path) -> None:
    assert run(tmp_path, block("timeouts")) == "Loaded data: [2, 4, 6, 8, 10]\n"


def test_restart_failed_tasks(tmp_path: Path) -> None:
    """With this seed the first number is below 0.3: the task fails, and is done again."""
    out = run(tmp_path, block("restart_failed_tasks"), seed=1, told="Retry 1/3 will start")
    assert out == "Loaded data: [2, 4, 6, 8, 10]\n"


def test_cache_workflow_outputs(tmp_path: Path) -> None:
    loaded = "Loaded data: [2, 4, 6, 8, 10]"
    assert run(tmp_path, block("cache_outputs")).splitlines() == [
        "Extracting from database...", "Transforming with multiplier 2...", loaded,  # the first run
        loaded,  # the second takes the cached values
        "Transforming with multiplier 3...", "Loaded data: [3, 6, 9, 12, 15]",
    ]  # fmt: skip


def test_event_driven_computing(tmp_path: Path) -> None:
    assert run(tmp_path, block("events")).splitlines() == [
        "Loaded data: [2, 4, 6, 8, 10]", "Pipeline completed. Processed 5 items.",
    ]  # fmt: skip


def test_shell_commands(tmp_path: Path) -> None:
    (tmp_path / "example.txt").write_text("one\ntwo\nthree\n")
    out = run(tmp_path, block("shell"), "print(sorted(result), result['line_count'])")
    lines = out.splitlines()
    assert lines[:2] == ["Echo output: Hello from Prefect!", "File example.txt has 3 lines"]
    assert str(tmp_path) in lines
    assert lines[-2:] == [
        "Environment variable: Prefect is awesome!", "['echo_output', 'env_result', 'line_count', 'system_info'] 3",
    ]  # fmt: skip


def test_shell_commands_in_a_folder_and_with_errors(tmp_path: Path) -> None:
    """The seed's folder is made up: it is one of the test's, and the programs print their names."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "make").write_text("#!/bin/sh\necho made $1 in $(pwd)\necho warned >&2\n")
    (project / "make").chmod(0o755)
    for name in ("process_data", "validate", "upload"):
        (tmp_path / f"{name}.py").write_text(f"print('{name}')\n")
    python = f"import os, sys; os.environ['PATH'] = {str(project)!r} + ':' + os.environ['PATH']"
    program = block("shell_advanced").replace("/path/to/project", str(project))
    wanted = {"build": f"made build in {project}\nwarned", "pipeline": "process_data\nvalidate\nupload"}
    assert run(tmp_path, python, program, "print(result)") == f"{wanted}\n"


def test_a_deployment_is_exported(tmp_path: Path) -> None:
    """The seed shows `version: null`; as in Prefect 3 a flow without a version has that of its file."""
    run(tmp_path, block("deployment"))
    found = yaml.safe_load((tmp_path / "deployment.yaml").read_text())
    wanted = {
        "name": "my-deployment", "description": "A sample deployment for data processing workflow",
        "tags": ["production", "data-pipeline"], "parameters": {"param1": "value1", "param2": 20},
        "work_pool": {"name": "my-work-pool", "job_variables": {}},
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted


def test_a_deployment_is_made_again_of_its_file(tmp_path: Path) -> None:
    made = "from anabranch import serving\nfrom anabranch.core.orders import Pool\n"
    pool = f"{made}serving.current().pools.put(Pool('my-work-pool'))"
    seen = "row = serving.current().deployments.find('my-workflow/my-deployment')\nprint(row.pool, row.tags)"
    out = run(tmp_path, block("deployment"), pool, block("deployment_from_yaml"), seen)
    assert out == "my-work-pool ('production', 'data-pipeline')\n"


def test_a_flows_definition_is_exported(tmp_path: Path) -> None:
    run(tmp_path, block("flow_definition"))
    found = json.loads((tmp_path / "flow_definition.json").read_text())
    assert found["name"] == "my-workflow"
    assert "param2" in json.dumps(found["parameters"])
