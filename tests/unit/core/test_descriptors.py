"""What reading a function from an instance or a class gives it, as Python has it."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from anabranch.core.descriptors import opened, owner_of, under_classmethod


def plain(self: Any, x: int) -> Any:
    return self, x


class Callable:
    def __call__(self, x: int) -> int:
        return x


class Holder:
    method = plain


@pytest.mark.parametrize(
    ("fn", "instance_owner", "class_owner"),
    [
        (plain, "it", None),
        (lambda self: self, "it", None),
        (classmethod(plain), "kind", "kind"),
        (staticmethod(plain), None, None),
        (functools.partialmethod(plain, 1), "it", None),
        (functools.lru_cache(plain), "it", None),
        (str.upper, "it", None),
        # What Python does not bind.
        (len, None, None),
        (complex, None, None),
        (Callable(), None, None),
        (Holder().method, None, None),
        ([].index, None, None),
    ],
)
def test_owner_is_what_python_would_bind(fn: Any, instance_owner: str | None, class_owner: str | None) -> None:
    given = Holder()
    names = {"it": given, "kind": Holder, None: None}
    _, binds = opened(fn)
    assert owner_of(binds, given, Holder) is names[instance_owner]
    assert owner_of(binds, None, Holder) is names[class_owner]


def test_the_class_is_the_instances_where_no_other_is_told() -> None:
    _, binds = opened(classmethod(plain))
    assert owner_of(binds, Holder(), None) is Holder


def test_function_is_taken_out_of_what_python_puts_round_it() -> None:
    assert opened(classmethod(plain))[0] is plain
    assert opened(staticmethod(plain))[0] is plain
    fixed, _ = opened(functools.partialmethod(plain, 1))
    assert fixed("me") == ("me", 1)


def test_what_a_classmethod_holds_is_known() -> None:
    held, free = Callable(), Callable()
    holder = classmethod(held)
    assert holder.__func__ is held
    assert under_classmethod(held)
    assert not under_classmethod(free)
