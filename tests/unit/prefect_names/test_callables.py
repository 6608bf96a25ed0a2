"""Calls as dicts of parameters, and schemas of parameters, as Prefect has them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.compat.prefect.exceptions import ParameterBindError, SignatureMismatchError
from anabranch.compat.prefect.utilities import callables

if TYPE_CHECKING:
    from pathlib import Path


def plain(a: int, b: str = "x", *rest: int, key: bool = False, **more: Any) -> None:
    """Do nothing.

    Args:
        a: the first
            of all.
        key (bool): a switch.
    """


def test_a_call_and_its_parameters() -> None:
    found = callables.get_call_parameters(plain, (1, "y", 2, 3), {"key": True, "z": 4})
    assert found == {"a": 1, "b": "y", "rest": (2, 3), "key": True, "more": {"z": 4}}
    assert callables.parameters_to_args_kwargs(plain, found) == ((1, "y", 2, 3), {"key": True, "z": 4})
    with pytest.raises(ParameterBindError, match="missing a required argument: 'a'"):
        callables.get_call_parameters(plain, (), {})
    with pytest.raises(SignatureMismatchError, match="Function expects parameters"):
        callables.parameters_to_args_kwargs(lambda x: x, {"y": 1})


def test_keywords_of_their_own_beside_the_others() -> None:
    exploded = callables.explode_variadic_parameter(plain, {"a": 1, "more": {"z": 2}})
    assert exploded == {"a": 1, "z": 2}
    assert callables.collapse_variadic_parameters(plain, exploded) == {"a": 1, "more": {"z": 2}}
    with pytest.raises(ValueError, match="does not include any variadic keyword argument"):
        callables.collapse_variadic_parameters(lambda x: x, {"y": 1})


def test_a_wrapper_gets_by_keyword_what_it_takes_by_keyword() -> None:
    def inner(a: int, b: int) -> None: ...

    @functools.wraps(inner)
    def wrapper(a: int, **kwargs: Any) -> None: ...

    assert callables.parameters_to_args_kwargs(wrapper, {"a": 1, "b": 2}) == ((1,), {"b": 2})


def test_the_schema_of_parameters() -> None:
    schema = callables.parameter_schema(plain).model_dump_for_openapi()
    assert schema["required"] == ["a", "rest", "more"]
    expected = {"title": "a", "type": "integer", "position": 0, "description": "the first\nof all."}
    assert schema["properties"]["a"] == expected
    assert schema["properties"]["key"]["default"] is False


def test_a_schema_from_source_that_cannot_be_imported(tmp_path: Path) -> None:
    file = tmp_path / "flow.py"
    file.write_text("import no_such_package\ndef f(x: int, y=no_such_package.z): ...\n")
    schema = callables.parameter_schema_from_entrypoint(f"{file}:f").model_dump_for_openapi()
    assert schema["properties"]["x"]["type"] == "integer"
    with pytest.raises(ValueError, match="not found"):
        callables.parameter_schema_from_entrypoint(f"{file}:g")
