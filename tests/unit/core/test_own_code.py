"""What is pickled by value is this process's own of its name where that is the same, else a copy that is as good."""

from __future__ import annotations

import enum
import pickle
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch.core import own_code, script
from anabranch.core.own_code import pickler, standing_in

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = """
import enum

class Tone(enum.Enum):
    LOW = 1

class Plain:
    def __init__(self, a): self.a = a
    kept = 1

class Slotted:
    __slots__ = ("a",)
    def __init__(self, a): self.a = a

class Outer:
    class Inner: pass

def twice(x): return 2 * x
"""
Kept = pickler(cloudpickle.Pickler, kept=True)


def main_like() -> ModuleType:
    module = ModuleType("__main__")
    exec(SOURCE, vars(module))
    return module


@pytest.fixture
def home() -> Iterator[ModuleType]:
    """A module that is read in the place of `__main__`."""
    module = main_like()
    with standing_in(module):
        yield module


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> own_code._Roles:
    """This process as a worker that nothing has come to."""
    roles = own_code._Roles()
    roles.home = False
    monkeypatch.setattr(own_code, "roles", roles)
    return roles


def of_an_earlier_start(make: Any, by: Any = Kept) -> bytes:
    """The pickle of something that another start of the same script made."""
    before, here, own_code.roles = main_like(), own_code.roles, own_code._Roles()
    try:
        with standing_in(before):
            data: bytes = by.dumps(make(before))
    finally:
        own_code.roles = here
    cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    return data


def sent_by_a_driver(make: Any) -> bytes:
    return of_an_earlier_start(make, pickler(cloudpickle.Pickler))


@pytest.mark.parametrize("kind", ["Plain", "Slotted", "Tone", "Outer.Inner"])
def test_classes_of_an_earlier_start_are_the_present_ones(home: ModuleType, kind: str) -> None:
    first, _, inner = kind.partition(".")

    def of(module: Any) -> Any:
        found = getattr(module, first)
        return getattr(found, inner) if inner else found

    found = pickle.loads(of_an_earlier_start(of))
    assert found is of(home)


def test_the_present_class_keeps_its_attributes(home: Any) -> None:
    data = of_an_earlier_start(lambda module: module.Plain(3))
    home.Plain.kept = 2
    found = pickle.loads(data)
    assert (type(found), found.a, found.kept) == (home.Plain, 3, 2)


def test_a_function_is_the_present_one_while_its_code_is(home: Any) -> None:
    data = of_an_earlier_start(lambda module: module.twice)
    assert pickle.loads(data) is home.twice
    exec("def twice(x): return 3 * x", vars(home))
    assert pickle.loads(data)(1) == 2, "the code has changed: what was pickled stays what it was"


def test_a_member_that_is_gone_is_one_of_the_copy(home: Any) -> None:
    data = of_an_earlier_start(lambda module: module.Tone.LOW)
    assert pickle.loads(data) is home.Tone.LOW
    home.Tone = enum.Enum("Tone", {"HIGH": 1}, module="__main__")
    assert pickle.loads(data).name == "LOW"


@pytest.mark.parametrize("kind", ["Plain", "Slotted"])
def test_a_class_that_is_gone_is_a_copy(home: Any, kind: str) -> None:
    data = of_an_earlier_start(lambda module: getattr(module, kind)(5))
    delattr(home, kind)
    found = pickle.loads(data)
    assert (type(found).__name__, found.a, hasattr(found, "__dict__")) == (kind, 5, kind == "Plain")


def test_on_a_worker_a_class_is_made_once_and_found(elsewhere: own_code._Roles) -> None:
    data = sent_by_a_driver(lambda module: module.Slotted)
    first, second = pickle.loads(data), pickle.loads(data)
    assert first is second
    assert own_code.known_as("Slotted") is first


def test_on_a_worker_a_stored_class_is_the_one_that_the_script_sent(elsewhere: own_code._Roles) -> None:
    sent = pickle.loads(sent_by_a_driver(lambda module: module.Plain))
    assert pickle.loads(of_an_earlier_start(lambda module: module.Plain)) is sent


def test_on_a_worker_what_did_not_come_is_asked_for(elsewhere: own_code._Roles) -> None:
    module = main_like()
    elsewhere.ask = lambda name: getattr(module, name, None)
    assert own_code.known_as("Outer.Inner") is vars(module)["Outer"].Inner
    assert own_code.known_as("Nobody") is None
    assert pickle.loads(of_an_earlier_start(lambda other: other.Plain)) is vars(module)["Plain"]


def test_a_worker_holds_nothing_of_the_script_for_good(elsewhere: own_code._Roles) -> None:
    made = pickle.loads(sent_by_a_driver(lambda module: module.twice))
    assert own_code.known_as("twice") is made
    del made
    assert own_code.known_as("twice") is None


def test_the_driver_gives_classes_and_functions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = main_like()
    vars(module)["secret"] = {"key": "text"}
    monkeypatch.setitem(sys.modules, "__main__", module)
    assert script.of_the_script("Plain") is vars(module)["Plain"]
    assert script.of_the_script("twice") is vars(module)["twice"]
    assert script.of_the_script("secret") is None
    assert script.of_the_script("nothing") is None
