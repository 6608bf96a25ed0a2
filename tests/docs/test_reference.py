"""The pages of reference name all that there is: public names, errors, settings, commands."""

from __future__ import annotations

import re
import runpy
from dataclasses import fields

import anabranch
from anabranch import errors
from anabranch.settings import Settings
from tests.docs.blocks import ROOT

REFERENCE = ROOT / "docs" / "reference"
# Public names that are modules, or that have a page of their own.
ELSEWHERE = {"__version__", "cache_policies", "context", "session", "state", "states", "triggers"}


def test_each_error_has_its_anchor() -> None:
    told = re.findall(r"^### (\w+)$", (REFERENCE / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    raised = [name for name in dir(errors) if isinstance(getattr(errors, name), type) and name != "AnabranchError"]
    assert sorted(told) == sorted(raised)


def test_each_setting_is_told_with_its_default() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    assert sorted(rows) == sorted(field.name for field in fields(Settings))
    numbers = {f.name: f.default for f in fields(Settings) if isinstance(f.default, float)}
    assert {name: float(rows[name]) for name in numbers} == numbers


def test_each_public_name_is_on_the_page_of_the_api() -> None:
    page = (REFERENCE / "api.md").read_text(encoding="utf-8")
    told = {place.rpartition(".")[2] for place in re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)}
    assert sorted(set(anabranch.__all__) - ELSEWHERE - told) == []


def test_the_page_of_the_command_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "command_page.py"))
    assert (REFERENCE / "cli.md").read_text(encoding="utf-8") == made["page"](), "run `make docs`"


def test_the_page_of_the_servers_api_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "http_page.py"))
    assert (REFERENCE / "http.md").read_text(encoding="utf-8") == made["page"](), "run `make docs`"
