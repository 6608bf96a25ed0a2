"""What travels to workers elsewhere: pickles with their large buffers beside them, and the user's code by value."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import sysconfig
import threading
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Iterator

OUT_OF_BAND = 256 << 10  # buffers from this size on are not copied into the pickle


class Payload:
    """A pickle and the large buffers beside it; pickling a payload copies neither (protocol 5)."""

    __slots__ = ("frames",)

    def __init__(self, *frames: Any) -> None:
        self.frames = frames

    @classmethod
    def of(cls, value: Any) -> Payload:
        """Raises what pickling the value raises."""
        buffers: list[Any] = []

        def aside(buffer: pickle.PickleBuffer) -> bool:
            if len(buffer.raw()) < OUT_OF_BAND:
                return True
            buffers.append(buffer.raw())
            return False

        return cls(cloudpickle.dumps(value, protocol=5, buffer_callback=aside), *buffers)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        wrap: Any = pickle.PickleBuffer if protocol >= 5 else bytes
        return Payload, tuple(wrap(frame) for frame in self.frames)

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
        return pickle.loads(data, buffers=buffers)


# -- user code travels by value ------------------------------------------------------------------------

_registering = threading.Lock()  # cloudpickle's register is the program's
_PATHS = tuple(
    os.path.realpath(path) + os.sep
    for path in {sys.prefix, sys.base_prefix, *(sysconfig.get_path(p) for p in ("stdlib", "purelib", "platlib"))}
)
_PACKAGE = __name__.partition(".")[0]


def dumps(value: Any, modules: dict[str, ModuleType]) -> Payload:
    """Pickle a value, what lives in these modules of the user's by value; raises what its pickling raises."""
    if not modules:
        return Payload.of(value)
    with _by_value(modules):
        return Payload.of(value)


@contextlib.contextmanager
def _by_value(modules: dict[str, ModuleType]) -> Iterator[None]:
    with _registering:
        known = cloudpickle.list_registry_pickle_by_value()
        mine = [module for name, module in modules.items() if name not in known and name in sys.modules]
        for module in mine:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in mine:
                cloudpickle.unregister_pickle_by_value(module)


def is_local(module: ModuleType | None) -> bool:
    """Whether a module is the user's own: neither the standard library, nor installed, nor ours."""
    if module is None or module.__name__ == "__main__" or module.__name__.partition(".")[0] == _PACKAGE:
        return False
    path = getattr(module, "__file__", None)
    if not path:
        return False
    path = os.path.realpath(path)
    parts = path.split(os.sep)
    return not ("site-packages" in parts or "dist-packages" in parts or path.startswith(_PATHS))


def local_modules(value: Any) -> dict[str, ModuleType]:
    """The user's modules that a task's function, its hooks and what those call come from."""
    found: dict[str, ModuleType] = {}
    seen: set[int] = set()
    options = getattr(value, "options", None)
    hooks = [getattr(options, name) for name in getattr(options, "__slots__", ())] if options is not None else []
    stack: list[Any] = [getattr(value, "fn", value), *hooks]
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (tuple, list)):
            stack.extend(one[:100])
            continue
        module = one if isinstance(one, ModuleType) else sys.modules.get(getattr(one, "__module__", None) or "")
        local = is_local(module)
        if module is not None and local:
            found[module.__name__] = module
        stack.extend(getattr(one, name, None) for name in ("func", "__func__", "__wrapped__"))
        if isinstance(one, FunctionType) and (local or one.__module__ == "__main__"):
            names = _names(one.__code__)
            stack.extend(one.__globals__[name] for name in names if name in one.__globals__)
            stack.extend(cell.cell_contents for cell in one.__closure__ or () if _filled(cell))
        elif isinstance(one, type) and (local or one.__module__ == "__main__"):
            stack.extend((*one.__bases__, *vars(one).values()))
    return found


def _names(code: CodeType) -> set[str]:
    inner = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
