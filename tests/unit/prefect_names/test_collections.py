"""`visit_collection` and the other functions of Prefect on collections, annotations and hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pydantic
import pytest

from anabranch.compat.prefect.exceptions import HashError
from anabranch.compat.prefect.utilities.annotations import allow_failure, freeze, opaque, quote, unmapped
from anabranch.compat.prefect.utilities.collections import (
    StopVisiting,
    deep_merge_dicts,
    dict_to_flatdict,
    flatdict_to_dict,
    get_from_dict,
    set_in_dict,
    visit_collection,
)
from anabranch.compat.prefect.utilities.hashing import hash_objects
from anabranch.core import annotations as ours


@dataclass
class Pair:
    left: Any
    right: Any


class Point(NamedTuple):
    x: int
    y: int


class Model(pydantic.BaseModel):
    n: int
    inner: dict[str, int] = {}


def doubled(value: Any) -> Any:
    return value * 2 if type(value) is int else value


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, 6),
        ([1, (2, {3})], [2, (4, {6})]),
        ({1: [2]}, {2: [4]}),
        (Pair(1, [2]), Pair(2, [4])),
        (Point(1, 2), Point(2, 4)),
        (Model(n=1, inner={"a": 2}), Model(n=2, inner={"a": 4})),
        (quote([1]), quote([2])),
        ("text", "text"),
    ],
)
def test_visit_collection_gives_the_same_kinds(given: Any, expected: Any) -> None:
    assert visit_collection(given, doubled, return_data=True) == expected
    assert visit_collection(given, lambda value: value, return_data=True) is given
    assert visit_collection(given, doubled) is None


def test_shared_parts_stay_shared_and_cycles_end() -> None:
    part = [1]
    both = visit_collection({"a": part, "b": part}, doubled, return_data=True)
    assert both == {"a": [2], "b": [2]}
    assert both["a"] is both["b"]
    ring: dict[str, Any] = {"n": 1}
    ring["self"] = ring
    assert visit_collection(ring, doubled, return_data=True)["n"] == 2


def test_depth_marks_and_stopping() -> None:
    assert visit_collection([1, [2]], doubled, return_data=True, max_depth=1) == [2, [2]]
    assert visit_collection(opaque([1]), doubled, return_data=True, remove_annotations=True) == [1]

    def unless_quoted(value: Any, context: dict[str, Any]) -> Any:
        if isinstance(context.get("annotation"), quote):
            raise StopVisiting
        return doubled(value)

    given = [1, quote([2]), allow_failure(3)]
    found = visit_collection(given, unless_quoted, return_data=True, context={}, remove_annotations=True)
    assert found == [2, [2], 6]


def test_marks_are_those_that_the_engine_knows() -> None:
    assert issubclass(unmapped, ours.unmapped)
    assert issubclass(allow_failure, ours.allow_failure)
    assert issubclass(quote, ours.quote)
    assert unmapped("a")[7] == "a"
    assert quote(1) == quote(1) != allow_failure(1)
    assert freeze({"a": [1]}).unfreeze() == {"a": [1]}
    with pytest.raises(ValueError, match="JSON serializable"):
        freeze(object())


def test_dicts_by_path() -> None:
    nested = {"a": {"b": [1, {"c": 2}]}, "d": {}}
    assert flatdict_to_dict(dict_to_flatdict(nested)) == nested
    assert get_from_dict(nested, "a.b[1].c") == 2
    assert get_from_dict(nested, "a.x", "none") == "none"
    set_in_dict(nested, "d.e.f", 3)
    assert nested["d"] == {"e": {"f": 3}}
    with pytest.raises(TypeError, match="non-dict value"):
        set_in_dict(nested, ["a", "b", "c"], 1)
    assert deep_merge_dicts({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


def test_hashes_say_why_there_is_none() -> None:
    assert hash_objects({"a": 1}) == hash_objects({"a": 1}) != hash_objects({"a": 2})
    lock = (one for one in ())
    assert hash_objects(lock) is None
    with pytest.raises(HashError, match=r"JSON error.*\n.*Pickle error"):
        hash_objects(lock, raise_on_failure=True)
