"""Clusters with a name, as the command line starts and asks them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from anabranch.clusters import named, named_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def own_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home in this folder; clusters that a test leaves are stopped."""
    monkeypatch.setenv("ANABRANCH_HOME", str(folder))
    yield folder / "clusters"
    for name in named_file.names(folder / "clusters"):
        named.stop(name)


def command(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "anabranch", "cluster", *words], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def status(name: str) -> dict[str, Any]:
    [found] = json.loads(command("status", name, "--json"))
    return dict(found)
