"""Runs that are submitted to Kubernetes, as the command does it, in a folder and a namespace of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from anabranch.kubernetes.api import KubernetesApi
from tests.integration.commands import REPOSITORY, alone
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAIN = [sys.executable, "-P", "-m", "anabranch"]
DEADLINE = 100.0
FLOWS = """
import os
from anabranch import flow, task

@task
def square(x):
    return x * x

@flow(log_prints=True)
def squares(n: int = 5):
    print("sum", sum(square.map(range(n)).results()))

@flow
def wrong():
    raise ValueError("no good")

@task
def noted(gate):
    with open(gate + ".noted", "a") as file:
        file.write("x\\n")
    return 7

@flow(log_prints=True, runner="thread")
def gated(gate: str):
    with open(gate + ".starts", "a") as file:
        file.write("x\\n")
    print("before the gate", noted.submit(gate).result())
    print("through the gate", open(gate).read())
"""


@pytest.fixture
def home(kubernetes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = alone(tmp_path, monkeypatch)
    (tmp_path / "flows.py").write_text(FLOWS)
    os.mkfifo(tmp_path / "gate")
    return home


@pytest.fixture
def api(home: Path) -> Iterator[KubernetesApi]:
    with KubernetesApi() as api:
        yield api


# Pods of the bed are processes: the image is any, and this checkout is theirs as well.
# Its server replaces pods that are deleted: a flow with a record of its own may run twice, or its pod asks the API.
IMAGE = ("--image", "any", f"--option=env=PYTHONPATH={REPOSITORY}")
ASKED = (*IMAGE, "--option=twice=allowed")


def run(*args: str, code: int | None = 0) -> str:
    """Run a command; returns what it printed, in the order in which it did."""
    out = subprocess.PIPE
    done = subprocess.run([*MAIN, *args], stdout=out, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)
    if code is not None:
        assert done.returncode == code, done.stdout
    return done.stdout


def submitted(*args: str) -> str:
    """Submit a run; returns its name."""
    found = re.search(r"^run (\S+) is submitted", run("submit", "kubernetes", *args, *ASKED), re.MULTILINE)
    assert found
    return found[1]


def shown(name: str, words: str) -> str:
    """What `run show` says of a run, once these words are in it."""
    text = ""

    def is_shown() -> bool:
        nonlocal text
        text = run("run", "show", name)
        return words in text

    until(is_shown, lambda: text, seconds=DEADLINE, pause=0.3)
    return text


@contextmanager
def followed(name: str) -> Iterator[subprocess.Popen[str]]:
    """Follow the lines of a run by a program, which is ended whatever fails."""
    with subprocess.Popen([*MAIN, "run", "logs", "-f", name], stdout=subprocess.PIPE, text=True) as follow:
        try:
            yield follow
        finally:
            follow.kill()
