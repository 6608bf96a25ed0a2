"""Serializers by name, and their refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import ConfigurationError, SerializationError
from anabranch.results.disk import DiskStore
from anabranch.results.serializers import get_serializer, register_serializer

if TYPE_CHECKING:
    from pathlib import Path


def test_serializers_are_known_by_name() -> None:
    with pytest.raises(ConfigurationError, match="'yaml'; known are: compressed/pickle, json, pickle"):
        get_serializer("yaml")
    mine = get_serializer("json")
    assert get_serializer(mine) is mine
    register_serializer(mine)
    assert get_serializer("json") is mine


def test_json_names_the_culprit(tmp_path: Path) -> None:
    with pytest.raises(SerializationError, match=r"cannot serialize value\['a'\]\[1\] \(builtins.complex\)"):
        DiskStore(tmp_path, "json").write("key", {"a": [1, 2j]})
