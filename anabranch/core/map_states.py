"""The states of a map's items as one object: columns as of one moment, and States made on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, overload

from anabranch.core.counts import Counts
from anabranch.core.showing import Shown
from anabranch.core.states import (
    CACHED,
    FIRST_ENDED,
    NAMES,
    State,
    StateSequence,
    StateType,
    ValueSource,
)
from anabranch.core.type_variables import R_co

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.item_columns import ItemColumns


class Keeper(Protocol):
    """The object that keeps the values of a map alive: its future list."""

    def item_value(self, index: int) -> Any: ...
    def item_origin(self, index: int) -> tuple[Any, int]: ...


class _Item(ValueSource):
    """The value of one item, for a state that was handed out; it keeps the list alive, not a future of its own."""

    __slots__ = ("_index", "_keeper")

    def __init__(self, keeper: Keeper, index: int) -> None:
        self._keeper = keeper
        self._index = index

    def value(self) -> Any:
        return self._keeper.item_value(self._index)

    def origin(self) -> tuple[Any, int]:
        return self._keeper.item_origin(self._index)


class States(Shown, StateSequence[R_co]):
    """The states of a map's items as of one moment; a sequence, and one object.

    It takes a byte or two an item, and makes each State on demand. Holding it keeps the values of the map, as holding
    its future list does. It equals a list of the same states, and is pickled as one.

    Args:
        moment: the states as columns.
        keeper: keeps the values alive.
        items: the items, in this order; all of them unless given.
    """

    __slots__ = ("_items", "_keeper", "_moment")

    def __init__(self, moment: Any, keeper: Keeper, items: range | None = None) -> None:
        self._moment: ItemColumns = moment
        self._keeper = keeper
        self._items = range(len(moment.codes)) if items is None else items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> State[R_co]: ...
    @overload
    def __getitem__(self, index: slice) -> States[R_co]: ...
    def __getitem__(self, index: int | slice) -> State[R_co] | States[R_co]:
        if isinstance(index, slice):
            return States(self._moment, self._keeper, self._items[index])
        return self._state(self._items[index])

    def __iter__(self) -> Iterator[State[R_co]]:
        return map(self._state, self._items)

    def _state(self, index: int) -> State[R_co]:
        found = self._moment.state(index)
        if found.is_final():
            found.data = _Item(self._keeper, index)
        return found

    def _codes(self) -> bytes | bytearray:
        codes, items = self._moment.codes, self._items
        if items == range(len(codes)):
            return codes
        if not items:
            return b""
        return codes[items.start : items.stop if items.stop >= 0 else None : items.step]

    def types(self) -> dict[StateType, int]:
        found: dict[StateType, int] = {}
        for n, (_, kind) in zip(Counts(self._codes()).by_code, NAMES, strict=False):
            if n:
                found[kind] = found.get(kind, 0) + n
        return found

    def unfinished(self) -> Iterator[State[R_co]]:
        return self._those(range(FIRST_ENDED))

    def unsuccessful(self) -> Iterator[State[R_co]]:
        return self._those(range(CACHED + 1, len(NAMES)))

    def _those(self, wanted: range) -> Iterator[State[R_co]]:
        return (self._state(index) for index, code in zip(self._items, self._codes(), strict=True) if code in wanted)

    def __contains__(self, state: object) -> bool:
        if not isinstance(state, State):
            return False
        of, _, number = state.run_id.rpartition("/")
        here = of == self._moment.id and number.isdecimal() and int(number) in self._items
        return here and self._moment.state(int(number)) == state

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, StateSequence)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __add__(self, other: object) -> list[Any]:
        return [*self, *other] if isinstance(other, (list, StateSequence)) else NotImplemented

    def __radd__(self, other: object) -> list[Any]:
        return [*other, *self] if isinstance(other, list) else NotImplemented

    def __reduce__(self) -> Any:
        return (list, (list(self),))

    def __repr__(self) -> str:
        codes = self._codes()
        counts = Counts(codes).by_code
        told = [f"{n:,} {NAMES[code][0]}" for code, n in enumerate(counts) if n and code >= FIRST_ENDED]
        if unfinished := sum(counts[:FIRST_ENDED]):
            told.append(f"{unfinished:,} unfinished")
        first = next((index for index, code in zip(self._items, codes, strict=True) if code > CACHED), None)
        text = f"<States of {len(self):,}: {', '.join(told)}" if told else "<States of 0"
        return f"{text}; the first that did not complete is {first}>" if first is not None else f"{text}>"
