"""CPython's own executor tests over ours: see `cpython.py` and, for what is left out, `left_out.py`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILE = "test_concurrent_futures.py"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CPython's tests of this version: its own, or those that the distribution ships apart."""
    folder = tmp_path_factory.mktemp("suite")
    spec = importlib.util.find_spec("test")
    here = Path(spec.origin).parent / FILE if spec is not None and spec.origin else Path(FILE)
    if not here.exists():
        package = f"libpython{sys.version_info.major}.{sys.version_info.minor}-testsuite"
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            pytest.skip(f"this Python has no {FILE}, and there is no apt-get to fetch {package} with")
        fetched = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True)
        if fetched.returncode:
            pytest.skip(f"this Python has no {FILE}, and {package} cannot be had: {fetched.stderr.strip()[-200:]}")
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        here = next(folder.glob(f"usr/lib/python3*/test/{FILE}"), here)
    if not here.exists():
        pytest.skip(f"CPython's executor tests of this version are not one file {FILE}")
    shutil.copy(here, folder)
    return folder


@pytest.mark.nightly("three minutes of CPython's tests; test_executors.py has our own kinds by day")
@pytest.mark.timeout(600)
def test_they_pass_over_threads_and_processes(suite: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.integration.executors.cpython", str(suite), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-8000:]
    ran = re.search(r"(\d+) tests of CPython's ran", done.stdout)
    assert ran is not None
    assert int(ran[1]) >= 60
