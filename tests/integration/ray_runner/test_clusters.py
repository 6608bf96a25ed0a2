"""Whole clusters: each test runs a program that starts a Ray of its own, and looks at what that saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SLOW = "timed out during startup"  # Ray gives its node 30 s to come up, which a busy machine may not keep
PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).resolve().parents[3]


def run(program: str, *args: str, **environment: str) -> Any:
    """What a program printed last."""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    env |= {"PYTHONPATH": str(ROOT), "RAY_agent_register_timeout_ms": "60000", **environment}
    for left in (2, 1, 0):
        done = subprocess.run(
            [sys.executable, str(PROGRAMS / program), *args], env=env, capture_output=True, text=True, timeout=200
        )
        if not (left and done.returncode and SLOW in done.stderr):
            break
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_ray_of_our_own_has_what_it_has(tmp_path: Path) -> None:
    token = "0123456789abcdef" * 2
    saw = run("own_ray.py", ANABRANCH_HOME=str(tmp_path), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    assert "asks for licence=1 (none)" in saw["licence"]
    assert "asks for gpus=1 (none)" in saw["gpus"]
    assert saw["refused after"] < 5
    assert saw["usage stats"] is False
    assert saw["authentication"] == ["token", True]
    assert saw["memory"] == [float(1 << 30), 0.0]
    assert saw["after it"] == [saw["memory"]] * 2
    assert saw["left open"]
    assert saw["closed"]


def test_nodes_come_and_go_and_die(tmp_path: Path) -> None:
    saw = run("cluster.py", str(tmp_path))
    assert saw["slots before"] == 1
    assert saw["slots grown"] == 2
    assert saw["licensed"] == list(range(6))
    assert saw["on gpu"] == [[0, True, "0"], [1, True, "0"]]
    assert saw["nested"] == [3, 33]
    assert saw["never"].startswith("PENDING | ")
    assert "gpus=7 (at most 1)" in saw["never"]
    assert "capacity_timeout" in saw["never"]
    assert saw["deadly"] == [[5, "Crashed", 2]]
    assert saw["lived"] == 11
    assert saw["read again"]
    assert saw["heads"]
    assert saw["squares"]
    assert saw["made again"] == saw["made there"] > 0
    assert saw["slots after"] == 1
    assert saw["left open"]


def test_a_worker_that_was_ended_for_memory_is_told_apart(tmp_path: Path) -> None:
    monitor = {
        "RAY_memory_usage_threshold": "0.001",
        "RAY_memory_monitor_refresh_ms": "6000",  # time for a worker to start and to be given an item
    }
    [[name, message]] = run("low_memory.py", ANABRANCH_HOME=str(tmp_path), **monitor)
    assert name == "Crashed"
    assert message.startswith("out-of-memory: Ray ended its worker ray-")
    assert "running low on memory" in message
