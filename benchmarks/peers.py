"""The environment of the peers that anabranch never depends on (`make bench-peers`)."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".bench-venv" / "bin" / "python"
ABSENT = "not installed"


@cache
def installed(packages: frozenset[str], python: Path) -> frozenset[str]:
    """Those of the packages that an environment has; none where there is no such environment."""
    if not packages or not python.exists():
        return frozenset()
    code = "import sys, importlib.util as u; print(*[m for m in sys.argv[1:] if u.find_spec(m)])"
    told = subprocess.run([str(python), "-c", code, *packages], capture_output=True, text=True)
    return frozenset(told.stdout.split())
