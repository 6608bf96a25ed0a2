"""The site of docs/ builds without a warning, from this machine alone; a link that leads nowhere is a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = ROOT / "mkdocs.yml"
FETCHED = re.compile(r"<(?:link|script|img|iframe|source)\b[^>]*\b(?:href|src)=\"?(?:https?:)?//([^\"/> ]+)")


def built(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a configuration, where warnings are errors."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(site)],
        cwd=ROOT,  # snippets and docstrings are found from here
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=170,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = built(CONFIG, place)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return place


def test_each_page_is_built(site: Path) -> None:
    pages = {file.relative_to(ROOT / "docs").with_suffix(".html") for file in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 20
    assert [str(page) for page in sorted(pages) if not (site / page).is_file()] == []


def test_no_page_stands_twice_in_the_navigation() -> None:
    """Two changes that both bring a page merge without a conflict."""
    nav = CONFIG.read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = re.findall(r"[\w/]+\.md", nav)
    assert sorted({page for page in pages if pages.count(page) > 1}) == []


def test_nothing_is_fetched_from_other_hosts(site: Path) -> None:
    found = {file.name: FETCHED.findall(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    assert {name: hosts for name, hosts in found.items() if hosts} == {}
    assert FETCHED.findall('<script src="https://cdn.example/x.js">') == ["cdn.example"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [("[there](#nowhere)", "there is no such anchor on this page"), ("[there](nowhere.md)", "is not found among")],
)
def test_a_link_that_leads_nowhere_is_told(wrong: str, told: str, tmp_path: Path) -> None:
    """By the rules of our own configuration: by default a bad anchor passes."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n{wrong}\n")
    rules = yaml.safe_load(re.search(r"^validation:\n(?:  .*\n)+", CONFIG.read_text(), re.MULTILINE)[0])  # type: ignore[index]
    config = {"site_name": "try", "docs_dir": str(tmp_path / "docs"), **rules}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    done = built(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert told in done.stderr
