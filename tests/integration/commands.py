"""The command `anabranch` as a program, with a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAIN = [sys.executable, "-c", "from anabranch.cli import main; main()"]


def alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to this folder, with a home in it and no other setting; returns the home."""
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(folder / "home"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(folder)
    return folder / "home"


def run(*args: str, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*MAIN, *args], capture_output=True, text=True, timeout=50, **options)
    if code is not None:
        assert done.returncode == code, done.stdout + done.stderr
    return done
