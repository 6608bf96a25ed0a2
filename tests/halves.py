"""The suite in two halves, side by side: tests that wait for a batch system or Kubernetes, and all others.

    python -m tests.halves "not nightly" --+-- pytest -m "... and not (slurm or kubernetes)"   its lines as they come
                                           +-- pytest -m "... and (slurm or kubernetes)"       its lines at its end

The first half computes for nearly all of its time and the second waits for most of it, so together they take little
longer than the first alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

WAITING = "(slurm or kubernetes)"
FOLDERS = ["tests/integration", "tests/contract"]  # that have tests of the second half: to collect all takes a while


def command(marks: str, half: str, places: list[str], words: list[str]) -> list[str]:
    """Return the command of one half.

    Args:
        marks: which tests of it, as for pytest's -m; "": all.
    """
    return [sys.executable, "-m", "pytest", "-q", *places, "-m", f"({marks}) and {half}" if marks else half, *words]


def main(marks: str, words: list[str]) -> int:
    """Run both halves to their ends; returns 0 if both have passed."""
    with tempfile.TemporaryFile("w+") as lines:
        waiting = subprocess.Popen(command(marks, WAITING, FOLDERS, words), stdout=lines, stderr=subprocess.STDOUT)
        try:
            code = subprocess.run(command(marks, f"not {WAITING}", ["tests"], words)).returncode
        finally:
            waited = waiting.wait()  # Ctrl-C goes to both
            lines.seek(0)
            print(f"\nTests that wait for {WAITING[1:-1]}:\n{lines.read()}", end="", flush=True)
    return code or waited


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
