"""Runs the programs beside this file, each of which starts a Ray of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
