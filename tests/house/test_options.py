"""Each option is told once, and all that is made of it says the same: keywords for checkers, `help`, the docs page."""

from __future__ import annotations

import runpy
from dataclasses import fields
from pathlib import Path

import pytest

import anabranch
from anabranch.core import keywords
from anabranch.core.options import FlowOptions, TaskOptions

DOCS = Path(__file__).resolve().parents[2] / "docs"
KINDS = [(TaskOptions, keywords.TaskKeywords), (FlowOptions, keywords.FlowKeywords)]


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_keywords_are_the_options_and_their_older_names(kind: type, words: type) -> None:
    known = [name for option in fields(kind) for name in (option.name, *option.metadata["older"])]
    assert sorted(words.__annotations__) == sorted(known)


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_each_option_is_told_in_lines_that_fit(kind: type, words: type) -> None:
    for option in fields(kind):
        lines = option.metadata["doc"].split("\n")
        assert option.metadata["doc"].endswith("."), option.name
        assert max(map(len, lines)) <= 112, option.name


@pytest.mark.parametrize(("kind", "of"), [(TaskOptions, anabranch.task), (FlowOptions, anabranch.flow)])
def test_help_tells_of_every_option(kind: type, of: object) -> None:
    told = of.__doc__ or ""
    assert [option.name for option in fields(kind) if f"\n        {option.name}: " not in told] == []


def test_the_docs_page_is_current() -> None:
    made = runpy.run_path(str(DOCS / "options_page.py"))
    assert (DOCS / "options.md").read_text(encoding="utf-8") == made["page"](), "run `make docs`"
