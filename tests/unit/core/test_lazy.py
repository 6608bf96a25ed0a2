"""Names of packages that are loaded when they are asked for."""

from __future__ import annotations

import importlib

import pytest

from anabranch.core.lazy import lazily


def test_a_name_is_looked_up_in_its_module() -> None:
    load = lazily("anabranch.core", OptionError="errors")
    assert load("OptionError") is importlib.import_module("anabranch.core.errors").OptionError


def test_other_names_are_told_as_a_module_tells_them() -> None:
    with pytest.raises(AttributeError, match=r"^module 'anabranch\.core' has no attribute 'Missing'$"):
        lazily("anabranch.core", OptionError="errors")("Missing")
