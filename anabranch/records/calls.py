"""Calls of `Records` and its limits over HTTP: which there are, what they take, and rows as msgpack.

A row travels with its class's name and a map of its fields: what is missing has its default, and what is not known is
dropped, so either side may be the newer one. Nothing is ever unpickled.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgpack

from anabranch.core import limits, runs
from anabranch.core.errors import ServiceError
from anabranch.core.nearest import meant
from anabranch.core.spent import Spent
from anabranch.records.batch import flow_run_values
from anabranch.records.frames import SHAPES, FrameError, fitting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ROWS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        runs.FlowRunRow, runs.MapRow, runs.ItemBlock, runs.ItemRow, runs.StoredRow, runs.TransitionRow, runs.LogRow,
        runs.ItemView, runs.ReasonCount, runs.Ended, limits.Limit, limits.Holder, limits.Lease, limits.Ask,
        limits.Standing, limits.Starts, Spent,
    )
}  # fmt: skip
_ROW, _TUPLE, _SET, _RANGE, _ARRAY = range(1, 6)  # codes of what msgpack has no form for; never renumbered
MOST = 10_000  # rows of one answer, for calls that take a limit
_NUMBERS = "bhiqBHIQd"  # kinds of arrays with one width on all machines


class Method(NamedTuple):
    """A call.

    Attributes:
        takes: the kind of each argument.
        writes: whether it changes anything.
        driver: whether a run's key is good for it.
        of: the argument that names what is asked about; a run's key asks about what is of its run.
        after: whether a run's key is good for it even when the run has ended, or has another driver.
    """

    takes: dict[str, str]
    writes: bool = False
    driver: bool = True
    of: str = ""
    after: bool = False


_PART = {"until": "time?", "skip": "number?"}  # where a list goes on, as of `parts.newest_first`
METHODS = {
    "flow_runs": Method({"limit": "number", "state": "text?", "flow": "text?", **_PART}, driver=False),
    "count_flow_runs": Method({"state": "text?", "flow": "text?"}, driver=False),
    "flow_run": Method({"id_or_name": "text"}, after=True),
    "subflow": Method({"parent": "text", "run_key": "text"}, of="parent", after=True),
    "subflows": Method({"parent": "text", "limit": "number"}, of="parent", after=True),
    "keyed_run": Method({"flow": "text", "run_key": "text"}),
    "maps": Method({"flow_run": "text"}, of="flow_run", after=True),
    "stored": Method({"map": "text", "kind": "text"}, of="map", after=True),
    "items": Method(
        {"map": "text", "first": "number", "limit": "number", "states": "texts?"}, of="map", after=True
    ),
    "ended": Method({"map": "text", "mark": "mark"}, of="map", after=True),
    "attempts": Method({"map": "text", "index": "number"}, of="map", after=True),
    "reasons": Method({"maps": "texts"}, of="maps", after=True),
    "failures": Method({"flow_run": "text", "limit": "number"}, of="flow_run", after=True),
    "failed": Method({"flow_run": "text"}, of="flow_run", after=True),
    "transitions": Method({"run": "text", "index": "number?"}, of="run", after=True),
    "logs": Method({"flow_run": "text", "limit": "number", "level": "number", **_PART}, of="flow_run", after=True),
    "count_logs": Method({"flow_run": "text", "level": "number"}, of="flow_run", after=True),
    "cancel_requested": Method({"flow_runs": "texts"}, of="flow_runs", after=True),
    "request_cancel": Method({"flow_run": "text"}, writes=True, driver=False),
    "claim": Method({"driver": "run"}, writes=True),
    "mark_dead": Method({}, writes=True),
    "end": Method({"run": "run", "state": "number", "message": "text"}, writes=True, driver=False),
    "limits.limits": Method({}),
    "limits.leases": Method({"name": "text"}, driver=False),
    "limits.standing": Method({"holder": "holder"}),
    "limits.set": Method({"limit": "limit"}, writes=True, driver=False),
    "limits.delete": Method({"name": "text"}, writes=True, driver=False),
    "limits.free": Method({"name": "text", "token": "text"}, writes=True, driver=False),
    "limits.acquire": Method({"holder": "holder", "asks": "asks"}, writes=True),
    "limits.release": Method({"holder": "holder", "slots": "slots"}, writes=True, after=True),
    "limits.leave": Method({"holder": "holder"}, writes=True, after=True),
    "limits.renew": Method({"holder": "holder"}, writes=True),
    "limits.start": Method({"name": "text", "count": "number"}, writes=True),
}


class Rights(Protocol):
    """What a sender may ask; both raise AccessError."""

    def asks(self, name: str, method: Method, given: Mapping[str, Any]) -> None: ...
    def hears(self, answer: Any) -> Any: ...


def answered(records: runs.Records, name: str, body: bytes, rights: Rights | None = None) -> bytes:
    """Call a method of records with the arguments in a request's body; returns the body of the answer.

    Args:
        rights: of the sender; None: it may ask all.

    Raises:
        AccessError: it may not.
        ServiceError: there is no such call, the arguments are not those that it takes, or it finds too many rows.
        RecordsError, RunTakenError: as the call raises them.
    """
    method = METHODS.get(name)
    if method is None:
        raise ServiceError(f"records have no call {name!r:.100}{meant(name, METHODS)}")
    given = unpacked(body)
    if type(given) is not dict:
        raise ServiceError(f"{name}: arguments have names")
    taken = {arg: given[arg] for arg in method.takes if arg in given}
    for arg, value in taken.items():
        kind = method.takes[arg]
        optional = kind.endswith("?") and value is None
        if not optional and not _FITS[kind.rstrip("?")](value):
            raise ServiceError(f"{name}: {arg} is to be a {kind.rstrip('?')}, got {value!r:.100}")
    if rights is not None:
        if missing := [arg for arg, kind in method.takes.items() if arg not in taken and not kind.endswith("?")]:
            raise ServiceError(f"{name}: {missing[0]} is missing")
        rights.asks(name, method, taken)
    target: Any = records.limits if name.startswith("limits.") else records
    try:
        found = getattr(target, name.rpartition(".")[2])(**_bounded(name, taken))
        if method.takes.get("limit") == "number" and len(found) > MOST:
            raise ServiceError(f"{name}: there are more than {MOST:,} rows, too many for one answer: limit={MOST}")
        return packed(found if rights is None else rights.hears(found))
    except (TypeError, ValueError, OverflowError) as error:
        raise ServiceError(f"{name}: {error}") from error


def _bounded(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that find at most one row more than an answer has: it tells that rows are left."""
    limit = given.get("limit")
    if type(limit) is not int:
        return given
    if limit < 0:
        raise ServiceError(f"{name}: limit is to be 0 or more, got {limit}")
    return {**given, "limit": min(limit, MOST + 1)}


def _fits_run(value: Any) -> bool:
    try:
        fitting("run", SHAPES["put_flow_run"], list(flow_run_values(value)))
    except (AttributeError, TypeError, FrameError):
        return False
    return True


def _fits_holder(value: Any) -> bool:
    return type(value) is limits.Holder and [type(part) in (str, int, float) for part in value] == [True] * 4


def _fits_limit(value: Any) -> bool:
    numbers = (int, float, type(None))
    return type(value) is limits.Limit and _text(value.name) and {type(value.slots), type(value.rate)} <= set(numbers)


def _fits_slots(value: Any) -> bool:
    return type(value) is dict and all(_text(name) and type(count) is int for name, count in value.items())


def _fits_ask(value: Any) -> bool:
    return type(value) is limits.Ask and _fits_slots(value.needs) and type(value.times) is int


def _fits_mark(value: Any) -> bool:
    if value is None:
        return True
    return type(value) is tuple and len(value) == 2 and type(value[0]) is int and type(value[1]) in (tuple, type(None))


def _text(value: Any) -> bool:
    return type(value) is str


_FITS: dict[str, Callable[[Any], bool]] = {
    "text": _text,
    "number": lambda value: type(value) is int and abs(value) < 1 << 63,
    "time": lambda value: type(value) in (int, float),
    "texts": lambda value: type(value) in (list, tuple) and all(map(_text, value)),
    "mark": _fits_mark, "run": _fits_run, "holder": _fits_holder, "limit": _fits_limit, "slots": _fits_slots,
    "asks": lambda value: type(value) in (list, tuple) and all(map(_fits_ask, value)),
}  # fmt: skip


# -- values as msgpack ----------------------------------------------------------------------------


def packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value, default=_form, strict_types=True, unicode_errors="surrogatepass"))


def unpacked(body: bytes) -> Any:
    """Return the value in a body. Raises ServiceError for other bytes."""
    try:
        return msgpack.unpackb(body, ext_hook=_value, unicode_errors="surrogatepass")
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException) as error:
        raise ServiceError(f"a body that is no value: {type(error).__name__} {error!s:.200}") from None


def _form(value: Any) -> Any:
    kind = type(value)
    if kind.__name__ in _ROWS and kind is _ROWS[kind.__name__]:
        names = [one.name for one in fields(kind)] if is_dataclass(kind) else kind._fields
        return _extended(_ROW, [kind.__name__, {name: getattr(value, name) for name in names}])
    if isinstance(value, tuple):
        return _extended(_TUPLE, list(value))
    if isinstance(value, (set, frozenset)):
        return _extended(_SET, list(value))
    if kind is range and value.step == 1:
        return _extended(_RANGE, [value.start, value.stop])
    if kind is array and value.typecode in _NUMBERS:
        if sys.byteorder == "big":
            value = value[:]
            value.byteswap()
        return _extended(_ARRAY, [value.typecode, value.tobytes()])
    if plain := next((one for one in (int, float, str, dict, list) if isinstance(value, one)), None):
        make: Callable[[Any], Any] = plain  # a value of a class of its own, such as the code of a state
        return make(value)
    raise TypeError(f"{kind.__name__} does not travel")


def _extended(code: int, value: Any) -> msgpack.ExtType:
    return msgpack.ExtType(code, packed(value))


def _value(code: int, data: bytes) -> Any:
    found = unpacked(data)
    if code == _ROW:
        return _row(*found)
    if code == _TUPLE:
        return tuple(found)
    if code == _SET:
        return set(found)
    if code == _RANGE:
        return range(*found)
    if code == _ARRAY:
        kind, numbers = found
        if kind not in _NUMBERS:
            raise ValueError("an array of unknown numbers")
        column: array[Any] = array(kind, numbers)
        if sys.byteorder == "big":
            column.byteswap()
        return column
    raise ValueError(f"a value of unknown code {code}")


def _row(name: str, given: dict[str, Any]) -> Any:
    """Return a row of the fields that this anabranch knows."""
    kind = _ROWS[name]
    if is_dataclass(kind):
        known = {one.name: one.default is MISSING and one.default_factory is MISSING for one in fields(kind)}
    else:
        known = {field: field not in kind._field_defaults for field in kind._fields}
    if missing := [field for field, needed in known.items() if needed and field not in given]:
        raise ValueError(f"{name} without {missing[0]!r}")
    return kind(**{field: value for field, value in given.items() if field in known})
