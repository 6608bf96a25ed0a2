"""Whole clusters: each test runs a program that starts a Ray of its own, and looks at what that saw."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.ray_runner.running import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.sampled(7, "each starts a Ray of its own, some of several nodes"),
]


def test_a_ray_of_our_own_has_what_it_has(tmp_path: Path) -> None:
    token = "0123456789abcdef" * 2
    saw = run("own_ray.py", ANABRANCH_HOME=str(tmp_path), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    assert "asks for licence=1 (none)" in saw["licence"]
    assert "asks for gpus=1 (none)" in saw["gpus"]
    assert saw["refused after"] < 100  # not after `capacity_timeout`
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
    used = re.match(r"out-of-memory: Ray ended its worker ray-\d+ at (\d+\.\d+) GB because the node", message)
    assert used is not None, message
    assert 0 < float(used[1]) < 5


def test_a_head_that_was_killed_is_an_engine_lost(tmp_path: Path) -> None:
    """Well before Ray itself ends the program, which would leave no state behind."""
    saw = run("head_killed.py", str(tmp_path), RAY_gcs_rpc_server_reconnect_timeout_s="20")
    assert saw["error"] == "engine-lost: Ray's head has not answered for 15 s: it was killed or cut off"
    assert saw["state"] == "Failed"
    assert saw["hook"]  # an error that ends the program is printed


def test_drivers_that_do_not_fit_are_refused_and_told_why(tmp_path: Path) -> None:
    token = "0123456789abcdef" * 2
    saw = run("refusing.py", ANABRANCH_HOME=str(tmp_path), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    assert saw["right token"] == ["[0, 2, 4, 6]", ""]
    for one in ("wrong token", "no token"):
        kind, message = saw[one]
        assert kind == "RunnerError"
        assert "it asks for a token, and the one given here is missing or wrong: set RAY_AUTH_MODE=token" in message
        assert token not in message
    kind, message = saw["another Python"]
    assert kind == "VersionMismatch"
    assert "Python: 3.99.0" in message
    assert f"Python: {platform.python_version()}" in message


@pytest.mark.s3
def test_workers_store_at_an_address_if_they_can_log_in_there(s3_address: str, tmp_path: Path) -> None:
    saw = run("stores.py", s3_address, str(tmp_path), ANABRANCH_HOME=str(tmp_path))
    persisted = saw["persisted"]
    assert persisted["values"]
    assert not persisted["by the driver"]
    assert 1 <= persisted["blocks"] < 60
    assert persisted["read anew"]
    assert saw["first states"] == ["Completed"]
    assert saw["second states"] == ["Cached"]
    assert saw["squares"]
    assert saw["the same"]
    assert saw["computed once"]
    assert f"results are to be stored in RemoteStore('{s3_address}/unseen', " in saw["refused"]
    assert "but a worker (process " in saw["refused"]
    assert "cannot read it" in saw["refused"]
    assert not saw["ran all the same"]
