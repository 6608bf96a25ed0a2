"""Prefect's own test files, unchanged, where a checkout of Prefect 3.8.3 is named by ANABRANCH_PREFECT_CHECKOUT.

Needs pytest-asyncio and regex besides. How many of their tests pass must not fall, and each that fails is in
docs/prefect_tests.txt with its reason.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = os.environ.get("ANABRANCH_PREFECT_CHECKOUT")
ROOT = Path(__file__).resolve().parents[2]
PAGE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "prefect_tests_page.py"))
KNOWN = {test for kind in PAGE["kinds"]() for test in kind.tests}
OPTIONS = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=session", "asyncio_default_test_loop_scope=session"]
# At least so many pass of version 3.8.3, file by file.
PASS = {
    "utilities/test_annotations.py": 17,
    "utilities/test_callables.py": 72,
    "utilities/test_collections.py": 110,
    "utilities/test_hashing.py": 14,
    "test_cache_policies.py": 43,
    "test_states.py": 107,
    "test_tasks.py": 254,
    "test_flows.py": 273,
    "test_futures.py": 50,
    "test_task_runners.py": 30,
    "test_transactions.py": 90,
    "test_serializers.py": 79,
    "test_locking.py": 36,
}


def test_the_page_is_what_its_script_writes() -> None:
    assert (ROOT / "docs" / "prefect_tests.md").read_text(encoding="utf-8") == PAGE["page"](), "run `make docs`"


def test_each_known_failure_is_named_once_and_has_a_reason() -> None:
    named = [test for kind in PAGE["kinds"]() for test in kind.tests]
    assert len(named) == len(set(named))
    assert all(kind.why and kind.tests for kind in PAGE["kinds"]())
    assert {test.partition("::")[0] for test in named} <= PASS.keys()


@pytest.mark.nightly("minutes of Prefect's tests; unit/compat and acceptance/prefect_programs have our own by day")
@pytest.mark.skipif(not CHECKOUT, reason="ANABRANCH_PREFECT_CHECKOUT names no checkout of Prefect")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PASS)
def test_their_tests_pass(name: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = ignore\ntimeout = 60\n")
    options = [part for option in OPTIONS for part in ("-o", option)]
    plugins = ["-p", "anabranch.compat.pytest_prefect", "-p", "tests.prefect_own.stand_ins", "-p", "no:cacheprovider"]
    told = tmp_path / "told.xml"
    done = subprocess.run(
        [
            sys.executable, "-P", "-m", "pytest", "--noconftest", "-c", str(tmp_path / "pytest.ini"), "-q",
            f"--junitxml={told}", "--import-mode=importlib", *options, *plugins,
            str(Path(CHECKOUT or "", "tests", name)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=1790,
    )  # fmt: skip
    assert told.is_file(), done.stdout + done.stderr
    cases = list(ElementTree.parse(told).iter("testcase"))
    failed = {_test(name, case) for case in cases if any(one.tag in ("failure", "error") for one in case)}
    assert failed - KNOWN == set(), done.stdout
    assert sum(_passed(case) for case in cases) >= PASS[name], done.stdout


def _passed(case: ElementTree.Element) -> bool:
    return not any(one.tag in ("failure", "error", "skipped") for one in case)


def _test(file: str, case: ElementTree.Element) -> str:
    """Return the name of a test without its parameters."""
    classes = [one for one in (case.get("classname") or "").split(".") if one.startswith("Test")]
    return "::".join([file, *classes, (case.get("name") or "").partition("[")[0]])
