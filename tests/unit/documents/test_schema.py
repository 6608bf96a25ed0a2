"""JSON schemas of flows' parameters, and the check of given ones: as pydantic takes them, without the flow's code."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from anabranch import Secret  # noqa: TC001  # read by the schema
from anabranch.core import parameter_schema
from anabranch.core.errors import ParameterTypeError
from anabranch.core.validate import validate_call
from anabranch.documents import schema


class Colour(enum.Enum):
    RED = "red"


class Tree(pydantic.BaseModel):
    name: str
    leaves: list[Tree] = []


def load(
    n: int, day: date, when: datetime | None = None, rate: Annotated[float, Field(gt=0, le=1)] = 0.5, *,
    tags: list[str] = [], pairs: dict[str, int] = {}, kind: Literal["a", "b"] = "a", colour: Colour = Colour.RED,  # noqa: B006
    tree: Tree | None = None, point: tuple[int, str] = (1, "x"), flag: bool = False, old: int = None, free=None,  # noqa: RUF013
    own: Secret | None = None,
) -> None:  # fmt: skip
    """Has a parameter of each kind."""


NEEDED: dict[str, Any] = {"n": 1, "day": "2024-01-02"}


@pytest.mark.parametrize(
    "more",
    [
        {}, {"n": "3"}, {"n": 3.0}, {"when": "2024-01-02T03:04:05Z"}, {"when": None}, {"rate": "0.25"},
        {"tags": ["x"]}, {"pairs": {"a": "1"}}, {"kind": "b"}, {"colour": "red"}, {"flag": "yes"}, {"old": None},
        {"tree": {"name": "a", "leaves": [{"name": "b"}]}}, {"point": [2, "y"]}, {"free": {"any": [1, None]}},
    ],
)  # fmt: skip
def test_what_pydantic_takes_fits(more: dict[str, Any]) -> None:
    parameter_schema.check(schema.of(load), {**NEEDED, **more}, "it")
    validate_call(load, (), {**NEEDED, **more})


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"n": "three"}, "n"), ({"n": 1.5}, "n"), ({"day": "2024-13-01"}, "day"), ({"rate": 0}, "rate"),
        ({"rate": 2}, "rate"), ({"tags": "x"}, "tags"), ({"tags": ["a", 1]}, "tags.1"),
        ({"pairs": {"a": "b"}}, "pairs.a"),
        ({"kind": "c"}, "kind"), ({"colour": "blue"}, "colour"), ({"tree": {"nam": "a"}}, "tree"),
        ({"point": [1]}, "point"), ({"flag": "perhaps"}, "flag"), ({"n": None}, "n"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(ParameterTypeError) as refused:
        parameter_schema.check(schema.of(load), {**NEEDED, **more}, "deployment 'f/d'")
    assert "deployment 'f/d': the parameters do not fit" in str(refused.value)
    assert f"\n  {field}" in str(refused.value)
    with pytest.raises(ParameterTypeError):
        validate_call(load, (), {**NEEDED, **more})


def test_missing_and_unknown_parameters() -> None:
    with pytest.raises(ParameterTypeError) as refused:
        parameter_schema.check(schema.of(load), {"n": 1, "tagz": []}, "it")
    assert "day: is missing" in str(refused.value)
    assert "tagz: there is no such parameter; did you mean 'tags'?" in str(refused.value)


def test_further_parameters_where_the_flow_takes_them() -> None:
    def free(a: int, **more: Any) -> None: ...

    parameter_schema.check(schema.of(free), {"a": 1, "b": 2}, "it")
    parameter_schema.check({}, {"anything": object()}, "it")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["object", "array", "anyOf"])
def test_definitions_that_name_each_other_often_are_each_made_once(kind: str) -> None:
    defs: dict[str, Any] = {"d40": {"type": "integer"}}
    for depth in range(40):
        inner = {"$ref": f"#/$defs/d{depth + 1}"}
        defs[f"d{depth}"] = {
            "object": {"type": "object", "title": "D", "properties": {"a": inner, "b": inner}},
            "array": {"type": "array", "prefixItems": [inner, inner]},
            "anyOf": {"anyOf": [{"type": "array", "items": inner}, {"type": "object", "additionalProperties": inner}]},
        }[kind]
    nested = {"properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs}
    with pytest.raises(ParameterTypeError, match="Input should be"):
        parameter_schema.check(nested, {"x": 3}, "it")


def test_a_model_within_itself_is_checked_at_its_first_level() -> None:
    node = {
        "type": "object", "title": "Node", "required": ["v"],
        "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
    }  # fmt: skip
    own = {"properties": {"x": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    parameter_schema.check(own, {"x": {"v": 1, "next": {"v": 2}}}, "it")
    with pytest.raises(ParameterTypeError, match=r"x\.v: Input should be a valid integer"):
        parameter_schema.check(own, {"x": {"v": "a"}}, "it")


def test_a_schema_of_other_people_is_taken_as_far_as_it_is_understood() -> None:
    theirs = {
        "type": "object",
        "properties": {"n": {"type": ["integer", "null"]}, "x": {"$ref": "#/definitions/X"}, "y": {"not": {}}, "z": 1},
        "definitions": {"X": {"allOf": [{"type": "string", "pattern": "^a"}]}},
    }
    parameter_schema.check(theirs, {"n": None, "x": "ab", "y": 1, "z": 2, "further": 3}, "it")
    with pytest.raises(ParameterTypeError, match="\n  x: "):
        parameter_schema.check(theirs, {"x": "b"}, "it")


KINDS: list[Any] = [
    int, float, bool, str, date, list[int], dict[str, float], int | None, Literal["a", 1], list[str] | int,
]  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.sampled_from(["", "1", "1.0", "a", "true"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(KINDS), anything)
def test_the_check_says_what_the_flow_itself_would(kind: Any, value: Any) -> None:
    """The flow validates the parameters again; neither may refuse what the other takes."""

    def fn(it):  # type: ignore[no-untyped-def]
        ...

    fn.__annotations__["it"] = kind

    def refused(check: Any) -> bool:
        try:
            check()
        except ParameterTypeError:
            return True
        return False

    assert refused(lambda: parameter_schema.check(schema.of(fn), {"it": value}, "it")) == refused(
        lambda: validate_call(fn, (value,), {})
    )
