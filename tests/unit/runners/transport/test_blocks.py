"""Blocks of a report on their way: small ones packed, what cannot be pickled fails alone, versions are compared."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from anabranch.core.errors import RunnerError, VersionMismatch
from anabranch.core.reports import Held, Inline, Packed, Report
from anabranch.core.states import COMPLETED, FAILED
from anabranch.runners.transport.packing import pack_blocks, refuse, small
from anabranch.runners.transport.value_files import pickled
from anabranch.runners.transport.versions import compare, versions


def report(*blocks: Any) -> Report:
    return Report(1, 0, 2, True, blocks=tuple(Inline(block) if isinstance(block, list) else block for block in blocks))


def held(stage: int, values: list[Any]) -> Held:
    return Held(sum(len(pickled(value)[0]) for value in values))


def test_only_values_are_packed() -> None:
    given = report([1, 2], None, Held(7))
    pack_blocks(given, lambda stage, values: small(values, 1024) or held(stage, values))
    packed, none, other = given.blocks
    assert isinstance(packed, Packed)
    assert list(packed.values()) == [1, 2]
    assert (none, other) == (None, Held(7))
    assert given.codes is None


def test_one_that_cannot_be_pickled_fails_alone_and_in_its_stage() -> None:
    given = report([1, 2], [3, threading.Lock()])
    pack_blocks(given, lambda stage, values: small(values, 1024) or held(stage, values))
    assert given.codes is not None
    assert [list(row) for row in given.codes] == [[COMPLETED, COMPLETED], [COMPLETED, FAILED]]
    assert [(o.stage, o.position) for o in given.outcomes] == [(1, 1)]
    second = given.blocks[1]
    assert isinstance(second, Packed)
    assert list(second.values()) == [3, None]


@pytest.mark.parametrize("values", [[b"x" * 200_000, 1], [1, b"x" * 2000], [bytearray(300_000)]])
def test_large_values_do_not_come_home(values: list[Any]) -> None:
    assert small(values, 100) is None


def test_a_block_that_can_be_held_nowhere_fails_its_items() -> None:
    given = report([1, 2])
    packed = refuse(given, 0, RunnerError("no room"))
    assert list(packed.values()) == [None, None]
    assert given.codes is not None
    assert list(given.codes[0]) == [FAILED, FAILED]


def test_versions_that_differ_are_named_on_both_sides() -> None:
    ours = versions(ray="2.9")
    compare("Ray", ours, ours, "w1")
    with pytest.raises(VersionMismatch, match=r"Ray worker w1 do not fit: ray 2\.9 here, 1\.0 there$"):
        compare("Ray", ours, {**ours, "ray": "1.0"}, "w1")
    with pytest.raises(VersionMismatch, match=r"ray 2\.9 here, None there"):
        compare("Ray", ours, versions(), "w1")
    assert versions(python=3)["Python"].startswith(versions()["Python"] + ".")
