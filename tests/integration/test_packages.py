"""What people install: the wheel holds the package and nothing else, and works in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import anabranch

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROGRAM = """
from pathlib import Path
import anabranch
from anabranch import ProcessRunner, ThreadRunner, task

@task
def square(x):
    return x * x

if __name__ == "__main__":
    for runner in (ThreadRunner(2), ProcessRunner(2)):
        with runner:
            assert square.map(range(100)).result() == [x * x for x in range(100)]
    home = Path(anabranch.__file__).parent
    assert (home / "py.typed").exists()
    print(home)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it. Nothing is downloaded: hatchling is here."""
    place = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place), str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [file for file in (ROOT / "anabranch").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    page = "anabranch/reference/errors.md"  # what `anabranch explain MapError` prints
    assert names == {page, *(file.relative_to(ROOT).as_posix() for file in files)}
    assert "anabranch/py.typed" in names
    assert any(name.endswith(".sql") for name in names)


def test_the_metadata_say_what_is_so(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        [place] = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        told = opened.read(place).decode()
        [points] = [opened.read(name).decode() for name in opened.namelist() if name.endswith("entry_points.txt")]
    assert "Requires-Python: >=3.11" in told
    assert "License-Expression: Apache-2.0" in told
    assert "Description-Content-Type: text/markdown" in told
    assert "anabranch = anabranch.cli:main" in points
    named = set(re.findall(r"anabranch\[(\w+)\]", "".join(p.read_text() for p in (ROOT / "docs").rglob("*.md"))))
    assert named <= set(re.findall(r"^Provides-Extra: (\w+)$", told, re.MULTILINE)), "the docs name an extra"


def test_the_sdist_has_what_its_tests_and_its_site_need(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        heads = {name.split("/")[1] for name in opened.getnames() if "/" in name}
    folders = {"anabranch", "tests", "benchmarks", "docs", "helm", "notebooks"}
    texts = {"README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
    assert folders | texts | {"Makefile", "constraints.txt", "mkdocs.yml", "pyproject.toml"} <= heads


def test_the_citation_is_one_of_this_version() -> None:
    """The four keys that version 1.2.0 of the format requires, and ours."""
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= told.keys()
    assert (told["cff-version"], told["version"], told["license"]) == ("1.2.0", anabranch.__version__, "Apache-2.0")


def python(version: str) -> str:
    """Return the path of an interpreter of this minor version; skips where there is none."""
    folders = sorted(Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob(f"versions/{version}*/bin"))
    found = [shutil.which(f"python{version}"), *(str(folder / f"python{version}") for folder in folders)]
    for path in filter(None, found):
        if subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return path
    pytest.skip(f"no Python {version} with venv on this machine")


@pytest.mark.nightly("an environment of its own for each Python, filled from the package index")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", PYTHONS)
def test_it_works_where_it_is_installed_alone(version: str, built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("ANABRANCH_", "PYTHON"))}
    environment["ANABRANCH_HOME"] = str(tmp_path / "home")

    def said(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said(python(version), "-m", "venv", "env")
    bin = tmp_path / "env" / "bin"
    probe = [str(bin / "python"), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "probe", "click"]
    if subprocess.run(probe, cwd=tmp_path, env=environment, capture_output=True, timeout=100).returncode:
        pytest.skip("no package index is reached from here")
    said(str(bin / "python"), "-m", "pip", "install", "--quiet", str(wheel))
    said(str(bin / "python"), "-m", "pip", "check")
    (tmp_path / "program.py").write_text(PROGRAM)
    assert said(str(bin / "python"), "program.py").strip().startswith(str(tmp_path / "env"))
    assert re.fullmatch(r"anabranch \d+\.\d+\.\d+\S*", said(str(bin / "anabranch"), "--version").strip())
