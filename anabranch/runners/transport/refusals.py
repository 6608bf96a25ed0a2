"""Values and arguments that cannot travel: which items fail for it, and what they are told.

For engines whose workers are other processes. Each item fails alone; its neighbours in a block or chunk go on.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from anabranch.core import secrets, states
from anabranch.core.asking import text
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import SerializationError
from anabranch.core.events import ChunkLost
from anabranch.core.failures import capture
from anabranch.core.reports import Outcome
from anabranch.runners.transport.value_files import dumps, refused

if TYPE_CHECKING:
    from anabranch.core.chunks import Chunk
    from anabranch.core.reports import Report


def without_unpicklable(report: Report, stage: int, values: list[Any]) -> list[Any]:
    """The values of a stage with None for those that cannot be pickled: their items fail, and say where they cannot."""
    values = list(values)
    for slot, value in enumerate(values):
        try:
            dumps(value)
        except BaseException as error:  # whatever a value's own code raises
            values[slot] = None
            culprit = unpicklable(value, error, refused, "result")
            text = f"its result ({type(value).__name__}) cannot be pickled: {culprit}"
            fail(report, stage, slot, SerializationError(text))
    return values


def fail_all(report: Report, stage: int, error: Exception) -> None:
    """All items fail whose values of this stage were to be kept, and cannot be."""
    codes = report.codes[stage] if report.codes else bytes([states.COMPLETED]) * report.count
    for slot, code in enumerate(codes):
        if states.is_success(code):
            fail(report, stage, slot, error)


def fail(report: Report, stage: int, slot: int, error: Exception) -> None:
    """One item of the report fails at this stage, whatever became of it."""
    if report.codes is None:
        report.codes = (bytes([states.COMPLETED]) * report.count,) * len(report.blocks)
    codes = [bytearray(row) for row in report.codes]
    codes[stage][slot] = states.FAILED
    report.codes = tuple(bytes(row) for row in codes)
    at = (stage, report.first + slot)
    report.outcomes = [o for o in report.outcomes if (o.stage, o.position) != at]
    info = capture(error, in_process=False)
    report.outcomes.append(Outcome(*at, states.FAILED, info.message, error=info))


def raised(error: BaseException) -> str:
    """An exception in a line, without the secrets that this process knows."""
    return secrets.mask("".join(traceback.format_exception_only(error)).strip())


def unserializable(chunk: Chunk, error: Exception) -> ChunkLost:
    """Return the end of a chunk with arguments that cannot be sent; it names the positions that are to blame."""
    bad: list[int] = []
    texts: list[str] = []
    for position, item in enumerate(chunk.args):
        try:
            refused(item)
        except Exception as own:
            bad.append(position)
            if len(texts) < 3:
                texts.append(str(unpicklable(item, own, refused, f"argument {chunk.items[position]}")))
    if not bad:
        texts.append(f"cannot serialize the chunk: {text(error)}")
    return ChunkLost(chunk.id, "unserializable", "; ".join(texts), tuple(bad) or None, alone=bool(bad))
