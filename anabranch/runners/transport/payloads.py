"""What travels to workers elsewhere: pickles with their large buffers beside them, and the user's code by value."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core import secrets
from anabranch.core.asking import told
from anabranch.core.encoder import apart
from anabranch.core.errors import SerializationError
from anabranch.core.user_code import by_value as modules_by_value
from anabranch.runners.transport.value_files import by_value

if TYPE_CHECKING:
    from types import ModuleType

OUT_OF_BAND = 256 << 10  # buffers from this size on are not copied into the pickle


class Payload:
    """A pickle and the large buffers beside it; pickling a payload copies neither (protocol 5)."""

    __slots__ = ("frames", "note")

    def __init__(self, *frames: Any) -> None:
        self.frames = frames
        self.note = ""  # what else a worker is to say that has not got a module

    @classmethod
    def of(cls, value: Any) -> Payload:
        """Raises what pickling the value raises."""
        buffers: list[memoryview] = []
        return cls(by_value(value, apart(buffers, OUT_OF_BAND)), *buffers)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        wrap: Any = pickle.PickleBuffer if protocol >= 5 else bytes
        frames = tuple(wrap(frame) for frame in self.frames)
        return (_noted, (self.note, *frames)) if self.note else (Payload, frames)

    def __sizeof__(self) -> int:
        return 64 + self.nbytes

    @property
    def nbytes(self) -> int:
        return sum(memoryview(frame).nbytes for frame in self.frames)

    def load(self, *, writable: bool = False) -> Any:
        """The value; arrays in it may be written to only where asked for (that copies large ones)."""
        data, *buffers = self.frames
        if writable:
            buffers = [bytearray(buffer) if memoryview(buffer).readonly else buffer for buffer in buffers]
        try:
            return pickle.loads(data, buffers=buffers)
        except ModuleNotFoundError as error:
            if not self.note:
                raise
            text = f"{error}: {self.note}, and this worker cannot import it: have it where the workers find it"
            raise ModuleNotFoundError(text, name=error.name) from None

    def content(self) -> Any:
        """The value; raises SerializationError when it does not unpickle here."""
        try:
            return self.load()
        except Exception as error:  # whatever the code of what is unpickled does
            raise SerializationError(secrets.mask(f"the chunk could not be run: {told(error)}")) from error


def _noted(note: str, *frames: Any) -> Payload:
    found = Payload(*frames)
    found.note = note
    return found


def dumps(value: Any, modules: dict[str, ModuleType]) -> Payload:
    """Pickle a value, what lives in these modules of the user's by value; raises what its pickling raises."""
    if not modules:
        return Payload.of(value)
    with modules_by_value(modules, cloudpickle):
        return Payload.of(value)
