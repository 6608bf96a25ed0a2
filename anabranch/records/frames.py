"""Frames: rows on their way from a driver to a server, as msgpack. Nothing in them is ever unpickled.

    {form, anabranch, writer, seq, tokens: {run: [token, [maps]]}, rows: [[query, [values, ...]], ...], blocks: [...]}

`values` are those that the query takes in SQL (`records/batch.py`). A driver sends its frames one by one and numbers
them without a gap, so that a server that has seen a number need not look into the frame.

A driver of an earlier anabranch sends fewer columns: `SHAPES` says what the missing ones are. With each added column or
query `FORM` goes up by one; a server refuses what is of a higher form than its own, so servers are upgraded first.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgpack

from anabranch.core.errors import RecordsError
from anabranch.core.states import SUSPENDED, is_final
from anabranch.records.batch import BlockRow
from anabranch.records.blocks import bounded

FORM = 1
FRAME_BYTES = 4 << 20  # a frame is closed before it is larger; one large row may make it larger
MOST_BYTES = 8 << 20  # a server takes no larger body
MOST_ROWS = 10_000  # in one frame
MOST_ITEMS = 4 << 20  # in the blocks of one frame
_KINDS: dict[str, frozenset[type]] = {
    "t": frozenset({str}), "i": frozenset({int}), "f": frozenset({float, int}), "b": frozenset({bytes}),
    "I": frozenset({int, type(None)}), "F": frozenset({float, int, type(None)}),
}  # fmt: skip
_INSIDE = -(1 << 63), (1 << 63) - 1
_MOST_TOKEN = 1 << 48  # drivers of one run; a token at the end of its column could not go up any more


class Shape(NamedTuple):
    """What a query takes.

    Attributes:
        columns: a letter each: t text, i integer, f number, b bytes; a capital one may be None.
        owner: the column with the id of the run or the map that a row is of.
        ended: the column with the end of what a row is of; a row with one follows all other rows of its batch, so that
            what is told to have ended is all there.
        defaults: of the last columns, where a driver does not know them yet.
        json: the columns that readers decode, with the type that they expect.
    """

    columns: str
    owner: int
    ended: int | None = None
    defaults: tuple[Any, ...] = ()
    json: tuple[tuple[int, type], ...] = ()


SHAPES = {
    "put_flow_run": Shape("tttittfFFitttttiftfittit", 0, 8, json=((13, list),)),
    "put_map": Shape("ttttIfFtttttttit", 0, 6, json=((7, dict), (9, list), (13, list), (15, object))),
    "put_item": Shape("tiiitttFFttttt", 0),
    "add_stored": Shape("tttiibbb", 0),
    "add_transition": Shape("tiiittf", 0),
    "add_log": Shape("fitttti", 4),
    "beat": Shape("ft", 1),
}
BLOCK = Shape("tiiiib", 0)
STATE, HEARTBEAT, TOKEN = 3, 18, 22  # columns of put_flow_run
BEAT = 0  # the column of beat with its time


def runs_of(body: bytes) -> set[str]:
    """Return the runs with a token that a frame is of, as its head says; none for what is no frame of these."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(body) or 1)
    unpacker.feed(body)
    try:
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() == "tokens":
                return set(unpacker.unpack())
            unpacker.skip()
    except (ValueError, TypeError, msgpack.UnpackException):
        pass
    return set()


class FrameError(RecordsError):
    """Raised for a frame that is none, is too large, or has what no query takes."""


class NewerError(FrameError):
    """Raised for a frame of a newer anabranch; names both versions."""


class Frame(NamedTuple):
    """A frame that was checked: its rows fit their queries."""

    writer: str
    seq: int
    tokens: dict[str, tuple[int, frozenset[str]]]
    rows: list[tuple[str, list[tuple[Any, ...]]]]
    blocks: list[BlockRow]

    @property
    def ended(self) -> list[str]:
        """The maps that it tells to have ended."""
        at = SHAPES["put_map"].ended or 0
        return [row[0] for name, rows in self.rows if name == "put_map" for row in rows if row[at] is not None]

    @property
    def ends(self) -> list[tuple[str, int]]:
        """The runs that it tells to have ended and that were ordered, with their tokens; as `Batch.ends`."""
        rows = [row for name, rows in self.rows if name == "put_flow_run" for row in rows]
        return [(row[0], row[TOKEN]) for row in rows if row[TOKEN] and is_final(row[STATE]) and row[STATE] != SUSPENDED]

    @property
    def owners(self) -> set[str]:
        """The runs and maps that its rows are of."""
        found = {row[SHAPES[name].owner] for name, rows in self.rows for row in rows}
        return found | {block.map for block in self.blocks}

    def token_of(self, run: str, token: int) -> int:
        """Return the highest token that it writes for a run; the given one where it writes none."""
        return max(self._written(run), default=token)

    def fenced(self, run: str, token: int) -> Frame:
        """Return it as one of this run's driver alone: none of it is written once the run has a higher token.

        What an earlier driver of the run left says a lower token itself, and that one counts.
        """
        said, _ = self.tokens.get(run, (token, None))
        lowest = min([token, said, *self._written(run)])
        return self._replace(tokens={**self.tokens, run: (lowest, frozenset(self.owners))})

    def _written(self, run: str) -> list[int]:
        return [row[TOKEN] for name, rows in self.rows if name == "put_flow_run" for row in rows if row[0] == run]

    def without(self, lost: set[str]) -> Frame:
        """Return it without the rows of these runs and of their maps."""
        gone = lost.union(*(maps for run, (_, maps) in self.tokens.items() if run in lost))
        rows = [(name, [row for row in rows if row[SHAPES[name].owner] not in gone]) for name, rows in self.rows]
        return self._replace(rows=rows, blocks=[block for block in self.blocks if block.map not in gone])

    def stamped(self, shift: float, now: float) -> Frame:
        """Return it with signs of life by the server's clock, which is `shift` seconds ahead of the sender's."""

        def at(row: tuple[Any, ...], column: int) -> tuple[Any, ...]:
            when = min(row[column] + shift, now) if row[column] else row[column]
            return (*row[:column], when, *row[column + 1 :])

        columns = {"put_flow_run": HEARTBEAT, "beat": BEAT}
        return self._replace(
            rows=[(n, [at(row, columns[n]) for row in rows] if n in columns else rows) for n, rows in self.rows]
        )


def parse(body: bytes, version: str) -> Frame:
    """Return the frame in a request's body, all of it checked.

    Args:
        version: of the anabranch that reads it, for messages.

    Raises:
        FrameError: it is no frame, or something in it fits no query; says what.
        NewerError: it is of a newer anabranch.
    """
    found = _unpacked(body)
    form = found.get("form")
    if type(form) is not int:
        raise FrameError("no frame: it does not say its form")
    if form > FORM:
        theirs = f"{found.get('anabranch')!s:.40}"
        raise NewerError(
            f"the frame is of anabranch {theirs} (form {form}), and the server is anabranch {version}, which reads up "
            f"to form {FORM}: upgrade the server"
        )
    writer, seq = found.get("writer"), found.get("seq")
    if type(writer) is not str or not 0 < len(writer) <= 200 or type(seq) is not int or not 0 < seq <= _INSIDE[1]:
        raise FrameError("no frame: it has no writer, or no number")
    rows = [_rows(part) for part in _list(found.get("rows", []), "rows")]
    if sum(len(part) for _, part in rows) > MOST_ROWS:
        raise FrameError(f"a frame with more than {MOST_ROWS} rows")
    blocks = _blocks(_list(found.get("blocks", []), "blocks"))
    return Frame(writer, seq, _tokens(found.get("tokens", {})), rows, blocks)


def refilled(body: bytes, **changed: Any) -> bytes:
    """Return a frame of this program with other fields, such as its writer and number."""
    return bytes(msgpack.packb({**_unpacked(body), **changed}))


def _unpacked(body: bytes) -> dict[str, Any]:
    if len(body) > MOST_BYTES:
        raise FrameError(f"a frame of {len(body)} bytes; at most {MOST_BYTES} are taken")
    try:
        found = msgpack.unpackb(
            body, max_array_len=MOST_ROWS, max_map_len=MOST_ROWS, max_str_len=MOST_BYTES, max_bin_len=MOST_BYTES,
            max_ext_len=0, strict_map_key=True,
        )  # fmt: skip
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(f"no frame: {type(error).__name__} {error!s:.200}") from None
    if type(found) is not dict:
        raise FrameError("no frame: it is no map of fields")
    return found


def _list(value: Any, what: str) -> list[Any]:
    if type(value) is not list:
        raise FrameError(f"no frame: its {what} are no list")
    return value


def _rows(part: Any) -> tuple[str, list[tuple[Any, ...]]]:
    if type(part) is not list or len(part) != 2 or type(part[0]) is not str or type(part[1]) is not list:
        raise FrameError("no frame: its rows are no lists of a query and its values")
    name, rows = part
    shape = SHAPES.get(name)
    if shape is None:
        raise FrameError(f"there is no query {name!r:.100}")
    return name, [fitting(name, shape, row) for row in rows]


def fitting(name: str, shape: Shape, row: Any) -> tuple[Any, ...]:
    """Return a row's values, missing last ones filled in. Raises FrameError where the query does not take them."""
    if type(row) is not list:
        raise FrameError(f"{name}: a row that is no list")
    missing = len(shape.columns) - len(row)
    if not 0 <= missing <= len(shape.defaults):
        raise FrameError(f"{name}: {len(row)} values, it takes {len(shape.columns)}")
    whole = (*row, *shape.defaults[len(shape.defaults) - missing :])
    for at, (value, letter) in enumerate(zip(whole, shape.columns, strict=True)):
        if type(value) not in _KINDS[letter]:
            raise FrameError(f"{name}: column {at} is {type(value).__name__}")
        if type(value) is int and not _INSIDE[0] <= value <= _INSIDE[1]:
            raise FrameError(f"{name}: column {at} is too large")
    for at, kind in shape.json:
        _check_json(name, at, whole[at], kind)
    if name == "put_flow_run" and not 0 <= whole[TOKEN] <= _MOST_TOKEN:
        raise FrameError(f"{name}: {whole[TOKEN]} is no token")
    return whole


def _check_json(name: str, at: int, text: str, kind: type) -> None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise FrameError(f"{name}: column {at} is no JSON: {text!r:.100}") from None
    if not isinstance(found, kind):
        raise FrameError(f"{name}: column {at} is JSON of another type: {text!r:.100}")


def _blocks(rows: list[Any]) -> list[BlockRow]:
    """Return blocks of items that readers can decode."""
    found, left = [], MOST_ITEMS
    for row in rows:
        whole = fitting("add_block", BLOCK, row)
        try:
            pack = bounded(whole[-1], left)
        except RecordsError as error:
            raise FrameError(f"add_block: {error}") from None
        if (pack.first, pack.last) != whole[1:3]:
            raise FrameError("add_block: it has other items than it says")
        left -= pack.count
        map, first, last, attempt, sealed, data = whole
        found.append(BlockRow(map, first, last, attempt, bool(sealed), data, pack.count))
    return found


def _tokens(found: Any) -> dict[str, tuple[int, frozenset[str]]]:
    tokens = {}
    if type(found) is not dict:
        raise FrameError("no frame: its tokens are no map")
    for run, said in found.items():
        if type(run) is not str or type(said) is not list or [type(value) for value in said] != [int, list]:
            raise FrameError("no frame: a token is no number with its maps")
        if not 0 <= said[0] <= _MOST_TOKEN:
            raise FrameError(f"no frame: {said[0]} is no token")
        if not all(type(map) is str for map in said[1]):
            raise FrameError("no frame: a map is no text")
        tokens[run] = (said[0], frozenset(said[1]))
    return tokens
