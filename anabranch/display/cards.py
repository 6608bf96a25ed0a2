"""The HTML of objects in a notebook, by their type. `core/showing.py` calls `html`; nothing here waits or fetches."""

from __future__ import annotations

import dataclasses
import itertools
import time
from html import escape
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import attribute, is_a, text
from anabranch.core.decorated import Decorated
from anabranch.core.future_lists import FutureList
from anabranch.core.future_sets import FutureSet
from anabranch.core.futures import Future
from anabranch.core.map_states import States
from anabranch.core.options import FlowOptions
from anabranch.core.showing import Facts
from anabranch.core.states import State, StateSequence, StateType, ValueSource, code_of
from anabranch.core.waiting import DoneAndNotDone
from anabranch.display import dashboards, graphs, map_cards, markup, strips, summary, units

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anabranch.core.maps import MapRun

MESSAGE_WIDTH = 300
SIGNATURE_WIDTH = 200
_WORDS = ("name", "description", "task_run_name", "flow_run_name")  # options that are said elsewhere, or not


def html(what: object) -> str | None:
    """Return the card of an object; None for one that has none."""
    if isinstance(what, FutureList):
        return map_cards.future_list(what._map, time.time(), released=what._released)
    if isinstance(what, States):
        return _states(what)
    if isinstance(what, Future):
        return _future(what)
    if isinstance(what, FutureSet):
        return _future_set(what, "in a set")
    if isinstance(what, DoneAndNotDone):
        return _future_set(what.done, "done") + _future_set(what.not_done, "not done")
    if isinstance(what, State):
        return _state(what)
    if isinstance(what, Decorated):
        return _decorated(what)
    facts = what.facts() if hasattr(what, "facts") else None
    return _facts(facts) if isinstance(facts, Facts) else None


# -- runs ----------------------------------------------------------------------------------------


def _states(what: States[Any]) -> str:
    keeper: Any = what._keeper  # the future list
    map = keeper._map
    return map_cards.states(map.spec.name, what._moment, map.errors, what._codes(), what._items)


def _future_set(what: Collection[Future[Any]], word: str) -> str:
    """Return the cards of a set of futures: one a map, and a line for all that belong to none of them."""
    found, single = [], len(what)
    for part in what.parts if isinstance(what, FutureSet) else ():
        map, marks = part.futures._map, part.marks
        codes = bytes(itertools.compress(map.codes, marks))
        items = range(len(codes)) if len(codes) == len(marks) else tuple(itertools.compress(range(len(marks)), marks))
        single -= len(codes)
        if codes:
            many = f"{units.count(len(codes))} {word}"
            found.append(map_cards.states(map.spec.name, map, map.errors, codes, items, many))
    if single or not found:
        found.append(markup.card(markup.head(f"{units.count(single)} {word}", "single runs" if single else "")))
    return "".join(found)


def _future(what: Future[Any]) -> str:
    map, index = what.origin()
    state = map.state(index)
    name = map.run_name(index)
    title = f"{name}[{index}]" if map.kind == "map" else name
    value = "" if not state.is_completed() else "its value is read by .result()"
    return markup.card(
        markup.head(title, "future", _attempts(state)), _ended(state),
        markup.line("its value was released" if what._released else value), _trace(map, index),
    )  # fmt: skip


def _state(what: State[Any]) -> str:
    origin = what.origin()
    inside = ""
    if isinstance(what.data, StateSequence):
        inside = _several(what.data)
    elif is_a(what.data, BaseException):
        inside = _noted(what.data)
    elif origin is not None:
        inside = _trace(*origin)
    elif _of_states(what.data):
        inside = markup.line(f"{units.count(len(what.data))} states")
    return markup.card(
        markup.head("State", what.type.value, _attempts(what)), _ended(what), markup.line(_value(what)), inside
    )


def _ended(state: State[Any]) -> str:
    """Return the name of a state, marked, and its message."""
    kind = strips.number_of(code_of(state.name, state.type))
    said = markup.first_line(summary.without_phrase(state.message), MESSAGE_WIDTH)
    name = f"<div>{markup.mark(kind)}<b>{escape(markup.cut(state.name, markup.NAME_WIDTH))}</b> "
    return f"{name}{escape(said)}</div>"


def _attempts(state: State[Any]) -> str:
    return f"attempt {state.attempt}" if state.attempt > 1 else ""


def _value(state: State[Any]) -> str:
    if state.type is not StateType.COMPLETED:
        return ""
    if isinstance(state.data, ValueSource):
        return "its value is read by .result()"
    if state.data is None or isinstance(state.data, StateSequence) or _of_states(state.data):
        return ""
    return f"value of type {type(state.data).__name__}, read by .result()"


def _of_states(data: object) -> bool:
    return type(data) in (list, tuple) and bool(data) and all(is_a(one, State) for one in data)  # type: ignore[attr-defined]


def _several(states: StateSequence[Any]) -> str:
    if isinstance(states, States):
        return _states(states)
    told = ", ".join(f"{units.count(n)} {kind.value}" for kind, n in states.types().items())
    return markup.line(told)


def _trace(map: MapRun, index: int) -> str:
    """Return the traceback of an item, folded; reading it does not count as handling the failure."""
    error = map.errors.get(index)
    if error is None or not error.traceback:
        return ""
    return markup.folded("where it ran", markup.trace(error.traceback))


def _noted(error: BaseException) -> str:
    """Return the traceback that a kept exception has as a note."""
    notes = attribute(error, "__notes__")
    found = [note for note in notes if type(note) is str] if type(notes) is list else []
    return markup.folded("where it ran", markup.trace("\n".join(found))) if found else ""


# -- tasks and flows -----------------------------------------------------------------------------


def _decorated(what: Any) -> str:
    flow = isinstance(what.options, FlowOptions)
    told = attribute(what.plain_fn, "__doc__")
    rows = _options(what.options)
    facts = attribute(attribute(what, "__func__", what), "_last_run") if flow else None
    return markup.card(
        markup.head(what.name, "flow" if flow else "task"),
        f"<div><code>{escape(_signature(what))}</code></div>",
        markup.line(markup.first_line(told) if type(told) is str else ""),
        markup.rows(rows),
        _run(facts) if isinstance(facts, Facts) else "",
    )


def _signature(what: Any) -> str:
    """Return the call as people write it; defaults that cannot be shown are left out."""
    signature, name = what.binder.signature, what.binder.fn_name
    if signature is None:
        return f"{name}(...)"
    try:
        told = str(signature)
    except Exception:
        told = f"({', '.join(what.binder.names)})"
    return markup.cut(f"{name}{told}", SIGNATURE_WIDTH)


def _options(options: Any) -> list[tuple[str, str]]:
    """Return the options that were chosen."""
    found = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.name not in _WORDS and not _same(value, default):
            found.append((field.name, _told(value)))
    return found


def _same(value: object, default: object) -> bool:
    return value is default or (type(value) is type(default) and type(value) in _PLAIN and value == default)


_PLAIN = (int, float, str, bool, tuple, dict, type(None))


def _told(value: Any) -> str:
    if type(value) is tuple:
        return ", ".join(_told(one) for one in value)
    name = attribute(value, "__name__")
    return name if type(name) is str else markup.cut(text(value), 100)


# -- what tells facts of itself ------------------------------------------------------------------


def _facts(facts: Facts) -> str:
    rows = [(name, told) for name, value, unit in facts.rows if (told := _amount(value, unit))]
    address = dashboards.link_here(facts.dashboard) if facts.dashboard else ""
    link = f"<div>{markup.link(address, 'dashboard')}</div>" if address else ""
    drawn = graphs.html(facts.graph) if facts.graph else ""
    name = facts.name or facts.kind
    return markup.card(
        markup.head(name, facts.kind if facts.name else "", facts.status), markup.rows(rows), drawn, link
    )


def _run(facts: Facts) -> str:
    """Return the last run of a flow, in the flow's card."""
    said = " · ".join(one for one in (f"last run {facts.name}", facts.status, _first(facts.rows)) if one)
    return markup.line(said, faint=False) + graphs.html(facts.graph)


def _first(rows: Sequence[tuple[str, str | float | None, str]]) -> str:
    return next((f"{name} {_amount(value, unit)}" for name, value, unit in rows if name == "took"), "")


def _amount(value: str | float | None, unit: str) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return value
    if unit == "B":
        return units.size(value)
    if unit == "s":
        return units.duration(value)
    return units.count(value) if value == int(value) else f"{value:g}"
