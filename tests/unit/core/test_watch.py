"""Whether what a function reads has changed: seen wherever it is, without asking objects, and without false alarms."""

from __future__ import annotations

import types
import weakref
from typing import Any

import numpy as np
import pytest

from anabranch.core.computation import Computation
from anabranch.core.options import TaskOptions, make
from anabranch.core.watch import Watch

SOURCE = """
import functools, io, threading
import numpy as np
from collections import deque
n, text, pair = 1000, "a", (1, [2])
numbers, table, names, queue = [1], {"a": {"b": 1}}, {1}, deque([1])
array, large = np.zeros(4), np.zeros(100_000)
long = {k: k for k in range(1000)}
lock, log = threading.Lock(), []
class Base:
    kind = 1
    def m(self): return 1
class K(Base):
    gain = 1
    def __init__(self): self.k = 1
k = K()
def helper(x, y=1, *, z=1): return n + y + z
def adds(f):
    @functools.wraps(f)
    def w(*given): return f(*given) + n
    return w
@adds
def wrapped(x): return x
cached = functools.lru_cache(lambda x: n)
partial = functools.partial(helper, 1)
def make(cell):
    def inside(x): return cell
    return inside
inside = make(numbers)
buffer, method = io.BytesIO(b"a"), [1].append
class Loud:
    def __getattribute__(self, name): raise AssertionError(name)
    def __reduce_ex__(self, protocol): raise AssertionError(protocol)
    def __eq__(self, other): raise AssertionError(other)
    def __hash__(self): raise AssertionError("hash")
loud = Loud()
def f(x):
    log.append(x)
    with lock:
        return (
            text, pair, numbers, table, names, queue, array, large, long, K.gain, k, helper(x), wrapped(x), cached(x),
            partial(), inside(x), loud, unknown, buffer, method(x),
        )
"""

CHANGES: dict[str, Any] = {
    "a global": lambda m: setattr(m, "text", "b"),
    "a global of another type": lambda m: setattr(m, "text", b"a"),
    "a global of a helper": lambda m: setattr(m, "n", 2),
    "a global that was not there": lambda m: setattr(m, "unknown", 2),
    "a global that goes": lambda m: delattr(m, "text"),
    "a list": lambda m: m.numbers.append(2),
    "a list in a tuple": lambda m: m.pair[1].append(2),
    "an element": lambda m: m.numbers.__setitem__(0, 2),
    "a dict in a dict": lambda m: m.table["a"].update(b=2),
    "a key": lambda m: m.table.update(c=m.table.pop("a")),
    "a set": lambda m: m.names.add(2),
    "a deque": lambda m: m.queue.append(2),
    "an array": lambda m: m.array.__setitem__(0, 1),
    "a large array": lambda m: m.large.__setitem__(50_000, 1),
    "a long dict": lambda m: m.long.__setitem__(500, 1),
    "a buffer": lambda m: m.buffer.write(b"b"),
    "what a builtin method is one of": lambda m: m.method.__self__.append(2),
    "a class": lambda m: setattr(m.K, "gain", 2),
    "a class's attribute that goes": lambda m: delattr(m.K, "gain"),
    "a base class": lambda m: setattr(m.Base, "kind", 2),
    "a base class's method": lambda m: setattr(m.Base, "m", lambda self: 2),
    "the bases": lambda m: setattr(m.K, "__bases__", (type("Other", (m.Base,), {}),)),
    "an object's attribute": lambda m: setattr(m.k, "k", 2),
    "an object's new attribute": lambda m: setattr(m.k, "other", 2),
    "a helper": lambda m: setattr(m, "helper", lambda x: 2),
    "a helper's code": lambda m: setattr(m.helper, "__code__", (lambda x: 2).__code__),
    "a helper's default": lambda m: setattr(m.helper, "__defaults__", (2,)),
    "a helper's keyword default": lambda m: m.helper.__kwdefaults__.update(z=2),
    "what is wrapped": lambda m: setattr(m.wrapped.__wrapped__, "__code__", (lambda x: 2).__code__),
    "what is cached": lambda m: setattr(m.cached.__wrapped__, "__code__", (lambda x: 2).__code__),
    "a closure": lambda m: setattr(m.inside.__closure__[0], "cell_contents", 2),
}
SLOW = {"a buffer", "an array", "a large array", "a long dict"}


@pytest.fixture
def cell() -> types.ModuleType:
    """A module like a notebook's: its code is in no file."""
    made = types.ModuleType("cell")
    exec(compile(SOURCE, "<cell>", "exec"), made.__dict__)
    return made


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_seen(cell: types.ModuleType, what: str) -> None:
    watch = Watch([cell.f])
    assert watch.same(through=True)
    assert watch.same()
    CHANGES[what](cell)
    assert not watch.same(through=what in SLOW)


def test_no_false_alarms(cell: types.ModuleType) -> None:
    watch = Watch([cell.f])
    cell.log.append(1)  # it only adds to it
    cell.n = int("1000")  # an equal value
    cell.text = "".join(["a"])
    cell.other = 1  # nobody reads that
    with cell.lock:
        assert watch.same(through=True)
    cell.f.__globals__["f"] = None
    assert watch.same(through=True)
    cell.n = 1000.0
    assert not watch.same()


def test_names_are_looked_at_by_each_submit(cell: types.ModuleType) -> None:
    for change in ("a global", "a global of a helper", "a helper", "a global that goes"):
        watch = Watch([cell.f])
        assert not watch.moved()
        CHANGES[change](cell)
        assert watch.moved(), change


def test_closures_are_looked_at_by_each_submit() -> None:
    """The variables of the functions around, and those of its helpers in there; what it only adds to is none."""
    step, deep = 0, 0
    log = [0]

    def helper() -> int:
        return deep

    def f() -> Any:
        log.append(step)
        return step, helper()

    watch = Watch([f])
    assert not watch.moved()
    f()
    assert not watch.moved()
    step = 1
    assert watch.moved()
    watch = Watch([f])
    deep = 1
    assert watch.moved()


def test_a_large_program_is_read_through() -> None:
    """Where so much is read that not every object is looked at."""
    nodes = {"nodes": [[[n, [m]] for m in range(200)] for n in range(200)]}
    exec("def f(x): return nodes", nodes)
    watch = Watch([nodes["f"]])
    assert watch.same(through=True)
    nodes["nodes"][199][199][1].append(1)
    assert not watch.same(through=True)


def test_unpicklable_objects_of_libraries_are_known_by_themselves() -> None:
    space: dict[str, Any] = {"made": np.nditer(np.zeros(3))}
    exec("def f(x): return made", space)
    watch = Watch([space["f"]])
    assert watch.same(through=True)
    space["made"] = np.nditer(np.zeros(3))
    assert not watch.same()


def test_large_values_are_not_held() -> None:
    """A program that binds a global anew has its memory back."""
    space: dict[str, Any] = {"made": np.zeros(100_000), "other": {"made": np.zeros(100_000)}}
    exec("def f(x): return made, other", space)
    watch = Watch([space["f"]])
    assert watch.same(through=True)
    assert not watch.moved()
    gone = [weakref.ref(space["made"]), weakref.ref(space["other"]["made"])]
    space["made"] = space["other"]["made"] = None
    assert [ref() for ref in gone] == [None, None]
    assert not watch.same()


# -- editions --------------------------------------------------------------------------------------


def test_editions_count_what_was_seen(cell: types.ModuleType) -> None:
    computed = Computation(cell.f, TaskOptions())
    first = computed.look("run")
    assert computed.look("run") == first
    assert not computed.moved()
    before = computed.identity()
    cell.n = 2
    assert computed.moved()
    assert computed.look("run") == first + 1
    assert computed.identity().state != before.state
    cell.n = 1000
    assert computed.identity().state == before.state


def test_each_flow_run_reads_through_what_is_slow(cell: types.ModuleType) -> None:
    computed = Computation(cell.f, TaskOptions())
    first = computed.look("run")
    cell.large[:] = 1
    assert computed.look("next run") == first + 1


def test_a_key_is_never_that_of_before(cell: types.ModuleType) -> None:
    """Also where what has changed is slow to read, and was read a moment ago."""
    computed = Computation(cell.f, TaskOptions())
    found = set()
    for value in range(5):
        cell.large[50_000] = value
        found.add(computed.identity().state)
    assert len(found) == 5


def condition(*given: Any) -> bool:
    return bool(SETTINGS["again"])


SETTINGS = {"again": 1}


@pytest.mark.parametrize(
    "option", ["on_running", "on_completion", "on_failure", "state_handlers", "retry_condition_fn", "cache_key_fn"]
)
def test_hooks_belong_to_it(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = Computation(len, make(TaskOptions, "@task 'f'", {option: condition}))
    first = computed.look()
    monkeypatch.setitem(SETTINGS, "again", 2)
    assert computed.look() == first + 1
