"""Hashes are equal for equal values, wherever they are computed, and errors name the culprit."""

from __future__ import annotations

import functools
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import cloudpickle
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.core import keys
from anabranch.core.culprits import culprit_path, unpicklable
from anabranch.core.errors import SerializationError
from anabranch.core.keys import ConstantHasher, hash_value

REPOSITORY = Path(__file__).resolve().parents[3]


class Colour(Enum):
    RED = 1
    BLUE = 2


class Level(IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    y: Any = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    tags: set[str] = field(default_factory=set)


class Pair(NamedTuple):
    a: int
    b: int


class Model(pydantic.BaseModel):
    name: str
    size: int = 3


class Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: int) -> None:
        self.a = a


class Saved:
    """Says itself what of it counts."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": self.kept}


SAMPLES: list[Any] = [
    None, True, 1, 1.0, 1j, "1", b"1", bytearray(b"1"), -1, 0, 0.0, -0.0, float("nan"), float("inf"), 10**5000, "", b"",
    (), [], {}, set(), frozenset(), (1,), [1], {1}, frozenset({1}), {1: 1}, [[1], 2], [[1, 2]], [1, [2]], ["ab"],
    ["a", "b"],
    "x" * 1000, "y" * 1000, b"x" * 1000, list(range(1000)), {"a": 1, "b": 2}, {"a": 2, "b": 1}, range(3),
    slice(1, 2), ...,
    Colour.RED, Colour.BLUE, Level.LOW, Point(1), Point(2), Frozen(1), Frozen(1, {"a", "b"}), Pair(1, 2), (1, 2),
    Model(name="a"), Model(name="b"), Plain(a=1), Plain(a=2), Plain(b=1), Slotted(1), Slotted(2), Saved(1), Saved(2),
    Decimal("1"), Decimal("1.0"), Fraction(1, 2), UUID(int=3), Path("a"), Path("a/b"), date(2024, 1, 1), time(1, 2),
    datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), timedelta(1), timedelta(0, 1), int, str, Plain,
    len, pickle, os.path,
    deque([1]), Counter("aab"), OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), defaultdict(list, a=[1]), Exception("a"),
    functools.partial(int, "1"), functools.partial(int, "2"), lambda x: x, lambda x: x + 1, lambda x=1: x, "a".upper,
    "b".upper,
    np.arange(3), np.arange(3.0), np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), np.float64(1), np.int64(1),
    np.float32(1),
    np.array(["a"], dtype=object), np.array([], dtype="i4"), np.array([], dtype="i8"),
    np.array(["2024"], dtype="M8[Y]"),
    np.array(["2024"], dtype="M8[D]"), np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.array([1, 2])[::-1], np.dtype("f8"),
    np.ma.masked_array([1, 2], [False, True]), np.ma.masked_array([1, 2], [True, False]),
]  # fmt: skip


def test_different_values_differ() -> None:
    hashes = [hash_value(value) for value in SAMPLES]
    same = [(a, b) for (a, x), (b, y) in itertools.combinations(zip(SAMPLES, hashes, strict=True), 2) if x == y]
    assert same == []


def test_a_copy_has_the_same_hash() -> None:
    for value in SAMPLES:
        copy = pickle.loads(cloudpickle.dumps(value))
        assert hash_value(copy) == hash_value(value), value


def test_the_same_in_every_process() -> None:
    """Other processes, each with its own hash seed and insertion order, answer the same."""
    code = f"""
import random, json, sys, os
sys.path.insert(0, {str(REPOSITORY)!r})
from anabranch.core.keys import hash_value
from datetime import datetime
from pathlib import Path
import numpy as np
class Plain: pass
names = [f"name{{n}}" for n in range(20)]
random.shuffle(names)
thing = Plain()
for n in names: setattr(thing, n, set(names))
def f(x, y=frozenset(names)): return x in {{"a", "b", "c"}} and (lambda: names)
class Strings(set): pass
values = [set(names), frozenset(names), {{n: len(n) for n in names}}, {{(n, 1): {{n}} for n in names}}, thing, f,
          Path("a/b"), datetime(2024, 1, 1), np.arange(5), Strings(names), 1.5, "ü", lambda: f, [thing, thing]]
names.sort()
print(json.dumps([hash_value(v) for v in values]))
"""
    answers = set()
    for seed in ("0", "1", "17"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        answers.add(done.stdout)
    assert len(answers) == 1
    assert len(set(json.loads(answers.pop()))) == 14


def test_known_hashes_do_not_change() -> None:
    """Keys of stored values: a change here makes every stored result unfindable, so bump `_PERSON` knowingly."""
    assert hash_value(1) == hash_value(1)
    assert hash_value({"x": [1, "a", None, 2.5]}) == "9da3711322b992a905bbdb7316d8b51f"


@given(
    st.recursive(
        st.integers() | st.text() | st.none() | st.binary(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_copies_and_reordered_dicts_agree(value: Any) -> None:
    def reordered(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: reordered(one[key]) for key in reversed(one)}
        return [reordered(item) for item in one] if isinstance(one, list) else one

    assert hash_value(reordered(value)) == hash_value(value)


def test_sharing_does_not_matter() -> None:
    shared = [1, "abc"]
    assert hash_value([shared, shared]) == hash_value([[1, "abc"], [1, "".join("abc")]])
    deep: Any = [1]
    for _ in range(300):
        deep = [deep, deep]  # 2**300 elements
    assert hash_value(deep) == hash_value(pickle.loads(pickle.dumps(deep)))


def test_cycles_end() -> None:
    first: list[Any] = [1]
    first.append(first)
    second: list[Any] = [1]
    second.append(second)
    assert hash_value(first) == hash_value(second)
    node, other = Plain(), Plain()
    node.self, node.other, other.back = node, other, node  # type: ignore[attr-defined]
    assert len(hash_value(node)) == 32


def test_tangled_and_deep_values_are_pickled_whole() -> None:
    nodes = [Plain() for _ in range(12)]
    for one in nodes:
        one.__dict__.update({f"n{i}": other for i, other in enumerate(nodes)})
    assert len(hash_value(nodes)) == 32
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        hash_value(deep)


def test_functions_count_by_code() -> None:
    def make(n: int, *, k: int = 1) -> Any:
        def inner(x: int, y: int = n) -> int:
            return x + n + k

        return inner

    assert hash_value(make(1)) == hash_value(make(1))
    assert len({hash_value(make(1)), hash_value(make(2)), hash_value(make(1, k=2))}) == 3

    def fact(n: int) -> int:
        return n * fact(n - 1) if n else 1

    assert len(hash_value(fact)) == 32  # its closure holds itself
    assert hash_value(Plain(a=1).__init__) != hash_value(Plain(a=2).__init__)  # type: ignore[misc]


def test_arrays_count_by_content() -> None:
    array = np.arange(12).reshape(3, 4)
    assert hash_value(array) == hash_value(np.asfortranarray(array)) == hash_value(np.repeat(array, 2, axis=0)[::2])
    assert hash_value(array) != hash_value(array.astype("i4"))
    assert hash_value(np.array([{"a": 1}, None], dtype=object)) == hash_value(np.array([{"a": 1}, None], dtype=object))


def test_a_model_counts_by_its_fields() -> None:
    assert hash_value(Model(name="a")) == hash_value(Model(name="a", size=3))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (threading.Lock(), "inputs"),
        ({"config": Plain(lock=threading.Lock())}, "inputs['config'].lock"),
        ([1, (2, {"a": (n for n in [1])})], "inputs[1][1]['a']"),
        (Point(1, [threading.Lock()]), "inputs.y[0]"),
        (deque([1, threading.Lock()]), "inputs[1]"),
        (defaultdict(None, a=threading.Lock()), "inputs['a']"),
        (np.array([threading.Lock()], dtype=object), "inputs[0]"),
    ],
)
def test_the_culprit_is_named(value: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        hash_value(value, where="inputs")
    assert str(caught.value).startswith(f"cannot hash {path}: ")


def test_the_culprit_in_a_closure() -> None:
    numbers = (n for n in [1])
    with pytest.raises(SerializationError, match=r"value\.__closure__\['numbers'\]: "):
        hash_value(lambda: numbers)


def test_dumps_is_the_last_resort() -> None:
    class Odd:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TypeError("not me")

    with pytest.raises(SerializationError, match=r"value\[0\]: not me"):
        hash_value([Odd()])
    assert hash_value([Odd()], lambda value: b"odd") == hash_value([Odd()], lambda value: b"odd")
    with pytest.raises(SerializationError, match=r"value\[0\]: "):
        hash_value([Odd()], pickle.dumps)


# -- constants -----------------------------------------------------------------------------------


def test_constants_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def counted(value: Any, *more: Any) -> str:
        calls.append(value)
        return hash_value(value, *more)

    monkeypatch.setattr(keys, "hash_value", counted)
    array, table = np.arange(1000), {"a": [1, 2]}
    digest = ConstantHasher([array, table, 3])
    assert len({digest(array), digest(array), hash_value(array)}) == 1
    assert digest(table) == digest(table) == hash_value(table)
    assert [id(value) for value in calls] == [id(array), id(table)]
    digest([1])
    digest([1])
    assert len(calls) == 4  # no constant


def test_threads_that_begin_together_hash_a_constant_once() -> None:
    calls: list[int] = []

    class Slow:
        def __reduce__(self) -> Any:
            calls.append(1)
            threading.Event().wait(0.05)
            return (Slow, ())

    constant = Slow()
    digest = ConstantHasher([constant])
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: digest(constant), range(8)))) == 1
    assert len(calls) == 1


def test_a_constant_keeps_its_first_hash() -> None:
    table = [1]
    digest = ConstantHasher([table])
    before = digest(table)
    table.append(2)
    assert digest(table) == before
    assert digest([1, 2]) == hash_value([1, 2]) != before


def test_an_unhashable_constant_is_refused_each_time() -> None:
    bad = {"lock": threading.Lock()}
    digest = ConstantHasher([bad])
    for _ in range(2):
        with pytest.raises(SerializationError, match=r"inputs\['x'\]\['lock'\]"):
            digest(bad, "inputs['x']")


# -- culprits of pickling ------------------------------------------------------------------------


class Guarded:
    def __init__(self) -> None:
        self.inner = {"deep": [0, threading.Lock()]}


def test_culprit_path() -> None:
    lock = threading.Lock()
    assert culprit_path({"config": Plain(lock=lock)}, cloudpickle.dumps, "inputs") == "inputs['config'].lock"
    assert culprit_path(Guarded(), pickle.dumps) == "value.inner['deep'][1]"
    assert culprit_path(lambda: lock, cloudpickle.dumps) == "value.__closure__['lock']"
    assert culprit_path(functools.partial(print, lock, a=1), cloudpickle.dumps) == "value.args[0]"
    assert culprit_path(lock, pickle.dumps) == "value"
    assert culprit_path({1, (2, lock)}, cloudpickle.dumps) == "value{...}[1]"
    assert culprit_path(Guarded().__init__, pickle.dumps) == "value.__self__.inner['deep'][1]"  # type: ignore[misc]


def test_culprit_path_ends_on_cycles() -> None:
    ring: list[Any] = [threading.Lock()]
    ring.insert(0, ring)
    assert culprit_path(ring, pickle.dumps) == "value[1]"


def test_unpicklable_says_what_and_why() -> None:
    value = {"a": Guarded()}
    with pytest.raises(TypeError) as caught:
        pickle.dumps(value)
    error = unpicklable(value, caught.value, pickle.dumps)
    assert (
        str(error) == "cannot serialize value['a'].inner['deep'][1] (_thread.lock): cannot pickle '_thread.lock' object"
    )
