"""Real helm and kubectl, of the test bed."""

from __future__ import annotations

import subprocess

import pytest

from tests.beds import BEDS
from tests.integration.helm.tools import CACHE, Tools


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    fetch = BEDS / "helm" / "fetch"
    if not fetch.exists():
        pytest.skip(f"there is no helm: no test bed at {fetch}")
    folder = CACHE / "helm"
    done = subprocess.run([fetch, folder], capture_output=True, text=True)
    assert done.returncode == 0, f"helm could not be fetched: {done.stderr}"
    return Tools(folder, tmp_path_factory.mktemp("helm"))
