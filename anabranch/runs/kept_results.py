"""The value of an ordered run, kept for the programs that wait for it: a small one in the record, another in the store.

    driver: value --pickled--> up to 64 kB: a row of the record; above: a block of the result store, and its name
    reader: the run is Completed --> its row --> the value

The row is written with the run's end, so a program that sees the end finds the value.
"""

from __future__ import annotations

import base64
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch import logs
from anabranch.core.asking import is_a
from anabranch.core.encoder import Encoder
from anabranch.core.errors import AnabranchError, ResultReleased
from anabranch.core.runs import StoredRow
from anabranch.core.states import ValueSource

if TYPE_CHECKING:
    from anabranch.session import Session

RESULT = "result"  # kind of a flow run's stored row
SMALL = 64 * 1024  # bytes; a pickle up to here lies in the record itself
_INLINE = "inline:"  # begins the name of a row that has the pickle, as base64, in place of a block's name
_kept = Encoder(cloudpickle.Pickler, kept=True)  # as the store's own serializer


def row_of(session: Session, run: str, value: Any) -> StoredRow | None:
    """Return the row that keeps the value of a run; None, with a warning, where it cannot be kept.

    Args:
        value: its final state's data.
    """
    try:
        value = value.value() if is_a(value, ValueSource) else value
    except Exception as error:  # the value of a task run may be lost, or released
        _warn(f"it cannot be read: {error}")
        return None
    try:
        data = _kept.dumps(value)
    except Exception as error:  # a value's own code may raise anything
        _warn(f"it cannot be pickled: {error}")
        return None
    if len(data) <= SMALL:
        return StoredRow(run, _INLINE + base64.b64encode(data).decode("ascii"), [0], [0], kind=RESULT)
    try:
        blocks = session.store.blocks
        if blocks is None:
            _warn(f"it is {len(data):,} bytes, and the result store keeps no values without keys")
            return None
        return StoredRow(run, blocks.write(run, [0], [data]).name, [0], [0], kind=RESULT)
    except AnabranchError as error:
        _warn(f"it is {len(data):,} bytes, and the result store does not take it: {error}")
        return None


def _warn(why: str) -> None:
    logs.warn(f"the flow's value is not kept for the programs that wait for this run: {why}")


def read(session: Session, run: str, name: str) -> Any:
    """Return the value of a completed run.

    Args:
        name: of the run, for errors.

    Raises:
        ResultReleased: it is not kept, or this program does not reach it; says why.
    """
    rows = session.records.stored(run, RESULT)
    if not rows:
        raise ResultReleased(
            f"the value of run {name!r} is not kept: its flow says persist_result=False, it could not be pickled or "
            "stored (the run's driver has warned then), or an older anabranch ran it"
        )
    place = rows[-1].name
    try:
        if place.startswith(_INLINE):
            data = base64.b64decode(place.removeprefix(_INLINE))
        else:
            blocks = session.store.blocks
            found = None if blocks is None else blocks.read(place, [0])[0]
            if found is None:
                raise ResultReleased(
                    f"the value of run {name!r} is in the result store of the program that ran it, and this program's "
                    "store does not have it: let the setting `results` name one place for both"
                )
            data = found.value
    except AnabranchError as error:
        if isinstance(error, ResultReleased):
            raise
        raise ResultReleased(f"the value of run {name!r} cannot be read: {error}") from error
    try:
        return pickle.loads(data)
    except Exception as error:  # a module that is not here, or a value's own code
        told = f"{type(error).__name__}: {error}"
        raise ResultReleased(f"the value of run {name!r} cannot be made here: {told}") from error
