"""The page of Prefect's names: it is what its script writes, it knows every name, and the names do what it says."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import anabranch.compat.prefect  # noqa: F401 - the names come first
from anabranch.compat.lacking import LACKING, lacking

DOCS = Path(__file__).resolve().parents[3] / "docs"
MADE = runpy.run_path(str(DOCS / "prefect_page.py"))
MODULES: list[Any] = MADE["modules"]()
NOT_THERE = "not there: "


def test_the_page_is_what_its_script_writes() -> None:
    assert (DOCS / "prefect_names.md").read_text(encoding="utf-8") == MADE["page"](), "run `make docs`"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: f"{module.generation}-{module.name}")
def test_every_name_is_there_or_has_a_way_out(module: Any) -> None:
    assert [name for name in module.names if not MADE["verdict"](module.name, name)] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: f"{module.generation}-{module.name}")
def test_a_name_that_is_not_there_says_at_its_use_what_the_page_says(module: Any) -> None:
    for name in module.names:
        told = MADE["verdict"](module.name, name)
        if not told.startswith(NOT_THERE):
            continue
        way_out = re.escape(told.removeprefix(NOT_THERE))
        with pytest.raises((ModuleNotFoundError, NotImplementedError), match=way_out):
            getattr(importlib.import_module(module.name), name)()


def test_no_name_is_told_of_that_is_not_listed() -> None:
    listed = {(module.name, name) for module in MODULES for name in module.names}
    told = {(module, name) for module in LACKING for name in lacking(module)}
    assert told - listed == set()
    differs = {tuple(key.rsplit(".", 1)) for key in MADE["DIFFERS"]}
    known = listed | {(module.name, "*") for module in MODULES}
    assert {key for key in differs if key not in known} == set()


def test_an_absent_name_is_nobodys_class() -> None:
    events = importlib.import_module("prefect.events")
    assert not isinstance(1, events.Automation)
    assert repr(events.Automation) == "<anabranch has no prefect.events.Automation>"
    with pytest.raises(AttributeError, match="has no attribute 'Automatism'"):
        events.Automatism  # noqa: B018
