"""One encoder: plain pickles where they say all, else by value; large buffers apart, and none of a first try left."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import pytest

from anabranch.core.encoder import Encoder, apart
from tests.unit.core import plain_module

ENCODERS = [Encoder(cloudpickle.Pickler), Encoder(cloudpickle.Pickler, kept=True)]
each = pytest.mark.parametrize("encoder", ENCODERS, ids=["travels", "kept"])


class Twice:
    """Refused by plain pickle after it has given its buffer away."""

    def __init__(self, buffer: bytearray) -> None:
        self.buffer = buffer

    def __reduce__(self) -> Any:
        return list, ((pickle.PickleBuffer(self.buffer), lambda: 1),)


@each
def test_plain_values_are_plain_pickles(encoder: Encoder) -> None:
    value = {"a": [1, (2.0, None)]}
    assert encoder.dumps(value) == pickle.dumps(value, 5)


@each
def test_what_pickle_refuses_goes_by_value(encoder: Encoder) -> None:
    fn = pickle.loads(encoder.dumps(lambda: 7))
    assert fn() == 7


@each
@pytest.mark.parametrize(("least", "count"), [(100, 1), (1000, 0)])
def test_large_buffers_lie_apart(encoder: Encoder, least: int, count: int) -> None:
    buffer = bytearray(b"x" * 500)
    buffers: list[memoryview] = []
    data = encoder.dumps([pickle.PickleBuffer(buffer)], buffers, least)
    assert [view.nbytes for view in buffers] == [500] * count
    assert pickle.loads(data, buffers=buffers) == [buffer]


@each
def test_buffers_of_a_try_that_failed_are_not_left(encoder: Encoder) -> None:
    buffers: list[memoryview] = []
    found = pickle.loads(encoder.dumps(Twice(bytearray(500)), buffers, 100), buffers=buffers)
    assert len(buffers) == 1
    assert found[1]() == 1


def test_modules_that_are_registered_go_by_value_where_workers_read_it() -> None:
    travels, kept = ENCODERS
    cloudpickle.register_pickle_by_value(plain_module)
    try:
        assert b"anabranch.core.own_code" in travels.dumps(plain_module.answer)
        assert kept.dumps(plain_module.answer) == pickle.dumps(plain_module.answer, 5)
    finally:
        cloudpickle.unregister_pickle_by_value(plain_module)


def test_a_buffer_in_pieces_stays_inside() -> None:
    buffers: list[memoryview] = []
    view = memoryview(bytearray(64))[::2]
    assert apart(buffers, 1)(pickle.PickleBuffer(view)) is True
    assert buffers == []
