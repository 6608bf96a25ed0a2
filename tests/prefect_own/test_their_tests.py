"""Prefect's own test files, unchanged, where a checkout of Prefect is named by ANABRANCH_PREFECT_CHECKOUT.

Needs pytest-asyncio and regex besides; how many of their tests pass must not fall.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = os.environ.get("ANABRANCH_PREFECT_CHECKOUT")
ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=session", "asyncio_default_test_loop_scope=session"]
# At least so many pass, file by file.
PASS = {
    "utilities/test_annotations.py": 12,
    "utilities/test_callables.py": 84,
    "utilities/test_collections.py": 105,
    "utilities/test_hashing.py": 14,
    "test_cache_policies.py": 36,
    "test_states.py": 85,
    "test_tasks.py": 247,
    "test_flows.py": 244,
    "test_futures.py": 50,
    "test_task_runners.py": 22,
    "test_transactions.py": 90,
    "test_serializers.py": 64,
    "test_locking.py": 30,
}


@pytest.mark.nightly("minutes of Prefect's tests; unit/compat and acceptance/prefect_programs have our own by day")
@pytest.mark.skipif(not CHECKOUT, reason="ANABRANCH_PREFECT_CHECKOUT names no checkout of Prefect")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PASS)
def test_their_tests_pass(name: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = ignore\ntimeout = 60\n")
    options = [part for option in OPTIONS for part in ("-o", option)]
    plugins = ["-p", "anabranch.compat.pytest_prefect", "-p", "tests.prefect_own.stand_ins", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [
            sys.executable, "-P", "-m", "pytest", "--noconftest", "-c", str(tmp_path / "pytest.ini"), "-q",
            "--import-mode=importlib", *options, *plugins, str(Path(CHECKOUT or "", "tests", name)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=590,
    )  # fmt: skip
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout + done.stderr
    assert int(passed[1]) >= PASS[name], done.stdout
