"""Rows as JSON and back: every row of the service's contract, and what older and newer programs send."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.core import access, deployments, orders
from anabranch.core.errors import ServiceError
from anabranch.core.orders import Agent, Claim, Hold, NewOrder
from anabranch.records.service import requests, wire

ROWS = sorted(
    {
        kind
        for module in (deployments, orders, requests, access)
        for _, kind in inspect.getmembers(module, dataclasses.is_dataclass)
    },
    key=lambda kind: kind.__name__,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{one.name: values(hints[one.name]) for one in dataclasses.fields(kind)})
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(one) for one in arguments])
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(), JSON, max_size=3)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    plain = {str: st.text(), int: st.integers(-9, 9), bool: st.booleans(), type(None): st.none()}
    return st.floats(allow_nan=False, allow_infinity=False) if kind is float else plain[kind]


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_row_that_has_travelled_is_the_same(kind: Any, data: st.DataObject) -> None:
    row = data.draw(values(kind))
    assert wire.load(kind, json.loads(json.dumps(wire.dump(row)))) == row


def test_a_field_that_an_older_program_does_not_send_has_its_default() -> None:
    assert wire.load(NewOrder, {"deployment": "etl/daily"}) == NewOrder("etl/daily")


def test_a_field_of_a_newer_program_is_dropped_and_named() -> None:
    sent = {"agent": "a", "holds": [{"run": "r", "token": 1, "mood": "good"}], "moon": 2}
    assert wire.load(requests.Beat, sent) == requests.Beat("a", [Hold("r", 1)])
    assert sorted(wire.unknown(requests.Beat, sent)) == ["holds.mood", "moon"]
    assert wire.unknown(NewOrder, {"deployment": "a", "parameters": {"anything": 1}}) == []


@pytest.mark.parametrize(
    ("kind", "sent", "said"),
    [
        (Claim, [], "an object"),
        (NewOrder, {}, "NewOrder has no 'deployment'"),
        (NewOrder, {"deployment": 3}, "str is expected in place of '3'"),
        (NewOrder, {"deployment": "a", "tags": "b"}, "a list"),
        (NewOrder, {"deployment": "a", "parameters": []}, "an object"),
        (Agent, {"id": "a", "name": "b", "seen": "now"}, "a number"),
        (list[Agent], {}, "a list"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_where(kind: Any, sent: Any, said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        wire.load(kind, sent)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
@pytest.mark.parametrize(
    "where", ['{"deployment": "f/d", "due": %s}', '{"deployment": "f/d", "parameters": {"a": [%s]}}']
)
def test_numbers_that_are_not_finite_do_not_travel(number: str, where: str) -> None:
    data = json.loads(where % number)
    if number.isdigit() and "due" not in where:  # a whole number of any size is JSON
        assert wire.load(NewOrder, data).parameters == data["parameters"]
        return
    with pytest.raises(ServiceError, match="this is no NewOrder as it travels"):
        wire.load(NewOrder, data)
    if not number.isdigit():
        with pytest.raises(ServiceError, match="numbers must be finite"):
            wire.dump(data)
