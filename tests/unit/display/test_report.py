"""A report is one file that needs nothing else, with and without matplotlib."""

from __future__ import annotations

import builtins
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.display.report import Page, log_bins

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["as it is", "without matplotlib"])
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Page:
    if request.param == "without matplotlib":
        real = builtins.__import__

        def refused(name: str, *args: Any, **kwargs: Any) -> Any:
            if name.partition(".")[0] == "matplotlib":
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", refused)
    return Page("A <title>", "and & lead")


def test_page_is_self_contained(page: Page, tmp_path: Path) -> None:
    page.facts([("files", "1,712"), ("<state>", "Completed")], "Facts")
    page.table("Ranking", ["file", "lines"], [("a<b>.py", 1200), ("c.py", 3)])
    page.histogram("Lines per file", [1, 5, 30, 30, 4000], "lines", "files")
    page.bars("Longest", [("f & g", 300), ("h", 20), ("h", 10)], "lines")
    page.bars("None", [], "lines")
    text = page.write(tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", text)
    assert "<script" not in text
    assert "a&lt;b&gt;.py" in text
    assert "f &amp; g" in text
    assert "nothing to plot" in text
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 2
    for drawing in drawings:
        ET.fromstring(drawing)
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["report.html"]


def test_equal_pages_are_equal(page: Page) -> None:
    page.histogram("h", [1, 2, 3], "x", "y")
    first = page.html()
    again = Page("A <title>", "and & lead")
    again.histogram("h", [1, 2, 3], "x", "y")
    assert again.html() == first


def test_bins() -> None:
    edges, heights = log_bins([1, 10, 100, 1000, 0], 3)
    assert edges == pytest.approx([1, 10, 100, 1000])
    assert sum(heights) == 4
    assert log_bins([], 3) == ([], [])
    assert log_bins([7, 7], 3)[1] == [2]
