"""One function finds the word that a misspelt one is most like, so all messages have one cut-off and one wording."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "anabranch"


def test_one_module_asks_difflib_for_near_words() -> None:
    users = [path for path in ROOT.rglob("*.py") if "get_close_matches" in path.read_text()]
    assert users == [ROOT / "core/nearest.py"]


def test_one_module_writes_the_question() -> None:
    """A message elsewhere that says "did you mean" has its word from `nearest`."""
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        if "did you mean" in text and path.name != "nearest.py":
            assert "core.nearest import" in text, path
