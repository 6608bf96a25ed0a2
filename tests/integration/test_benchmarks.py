"""The benchmarks run: two rows, quick sizes, finite figures."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_quick_rows_give_finite_figures(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "import,map_threads", "--repeat", "1"]
    done = subprocess.run([*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    samples = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(s["row"], s["side"]) for s in samples} == {
        (row, side) for row in ("import", "map_threads") for side in ("ours", "peer")
    }
    for sample in samples:
        assert not sample["error"], sample
        assert sample["figures"]
        assert all(math.isfinite(figure) for figure in sample["figures"].values())


def test_unknown_row_is_named() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
