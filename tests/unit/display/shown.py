"""Maps that have ended, and what a reader sees of objects as the last line of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from anabranch.core.maps import MapRun
from anabranch.core.options import TaskOptions
from anabranch.core.states import COMPLETED
from anabranch.core.task_spec import TaskSpec
from tests.unit.display.untrusted import lost, plain_text

if TYPE_CHECKING:
    from anabranch.core.reports import ErrorInfo
    from anabranch.core.showing import Shown

NASTY = "<script>alert('x')</script> & \"<b>\""


class Port:
    """The scope of a map that has ended; whoever asks it for a value fails the test."""

    def drop_list(self, map: MapRun) -> None:
        """Nobody hears of it."""

    drop_handle_soon = staticmethod(lambda map, index: None)
    on_end = staticmethod(lambda map, index, call: None)

    def moment(self, map: MapRun) -> Any:
        return map.moment()

    def value(self, map: MapRun, index: int) -> Any:
        pytest.fail("a value was fetched")

    values = wait = value


def a_map(codes: bytes | bytearray, name: str = "load", **errors: ErrorInfo) -> MapRun:
    """A map that ended after two seconds, with errors by item (`_3=...`)."""
    spec, options = TaskSpec(name, len, TaskOptions()), TaskOptions()
    map = MapRun("m", spec, options, kind="map", lane=0, scope=cast("Any", Port()))
    map.codes = bytearray(codes)
    map.done = sum(code >= COMPLETED for code in codes) if len(codes) < 10_000 else len(codes)
    map.closed = True
    map.header.created, map.header.ended_at = 1_000.0, 1_002.0
    for key, error in errors.items():
        map.errors[int(key[1:])] = error
    return map


def shown(what: Shown) -> str:
    """The HTML of an object, which loses nothing in a notebook that is not trusted."""
    found = what._repr_html_()
    assert found is not None
    assert lost(found) == []
    assert len(found) < 30_000
    return found


def read(what: Shown) -> str:
    return plain_text(shown(what))


