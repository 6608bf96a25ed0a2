"""The Helm chart's README says of each value what values.yaml says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

HELM = Path(__file__).resolve().parents[2] / "helm"
CHART = HELM / "anabranch"
VALUES = (CHART / "values.yaml").read_text(encoding="utf-8")
PAGE = runpy.run_path(str(HELM / "values_page.py"))


def test_the_table_of_values_is_current() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert PAGE["page"](readme, VALUES) == readme, "run `make docs`"


def test_a_value_without_words_is_named() -> None:
    values = "# A comment on the section.\na:\n  # -- Told,\n  # on two lines.\n  b: 1\n  c: {d: [x|y]}\n"
    with pytest.raises(ValueError, match=r"a\.c in values\.yaml has no words"):
        PAGE["page"]("", values.replace("{d: [x|y]}", "2"))
    told = PAGE["rows"](values.replace("  c:", "  # -- More.\n  c:"))
    assert told == [("a.b", 1, "Told, on two lines."), ("a.c", {"d": ["x|y"]}, "More.")]
