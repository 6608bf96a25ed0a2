"""Elastic clusters for tests: small jobs, a folder of their own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests import waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAIT = 100.0


def until(check: Callable[[], Any], what: str, seconds: float = WAIT) -> Any:
    """What the check gives, once it is true."""
    return waiting.until(check, what, seconds=seconds, pause=0.2)


def in_queue(name: str) -> list[str]:
    """The ids of a cluster's jobs that wait or run."""
    states = "PENDING,CONFIGURING,RUNNING,COMPLETING"
    done = subprocess.run(["squeue", "-h", "--me", "-t", states, "-o", "%i %j"], capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [id for id, job in lines if job.startswith(f"{name}-")]


@pytest.fixture
def size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of a cluster of jobs with one core, and a home of its own, where looks at the queue are shared."""
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    name = f"t{abs(hash(tmp_path)) % 10**6}"
    return {"cores": 1, "memory": "500 MiB", "walltime": "00:20:00", "name": name, "home": tmp_path / "clusters"}
