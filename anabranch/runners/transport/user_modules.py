"""The user's modules on their way to workers elsewhere: by value, except modules with unpicklable objects.

A lock, a connection, an open file at the top of a module belong to their process. Workers import such a module for
themselves, as in a plain program, or make it from its source where they do not have it, and each has a lock of its
own; the rest of the driver's module is carried to it. Where a worker can do neither, its error names the object that
kept the module from travelling.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.culprits import unpicklable
from anabranch.core.module_state import carried, names_read
from anabranch.core.task_spec import TaskSpec
from anabranch.core.user_code import by_value, local_modules
from anabranch.core.whole_modules import WholeModules, going_whole, neighbours
from anabranch.runners.transport.payloads import Payload, dumps
from anabranch.runners.transport.value_files import refused

if TYPE_CHECKING:
    from types import ModuleType

    from anabranch.core.errors import SerializationError


class UserModules:
    """The modules that one runner has met; usable from any thread."""

    def __init__(self) -> None:
        self.travelling: dict[str, ModuleType] = {}
        self.named: dict[str, str] = {}  # modules that workers import, with the reason why they do not travel
        self._whole = WholeModules()  # these, with what they import

    def shared(self, value: Any) -> Payload:
        """Pickle a shared value with the modules that it needs; raises SerializationError, which has the path."""
        modules = {**self.travelling, **local_modules(value)}
        modules = {name: module for name, module in modules.items() if name not in self.named}
        whole = carried(value, refused, imported=self._whole.names)
        try:
            found = _dumps(whole, modules, self._whole)
        except Exception as error:  # the code of a pickled object may raise anything
            found, modules = self._without_culprits(value, modules, error)
        self.travelling = modules
        found.note = "; ".join(self.named.values())
        return found

    def dumps(self, value: Any) -> Payload:
        """Pickle a chunk; raises the exception of its pickling."""
        return _dumps(value, self.travelling, self._whole)

    def again(self, value: Any) -> Payload:
        """Pickle a shared value again; raises the exception of its pickling."""
        return self.dumps(carried(value, refused, imported=self._whole.names))

    def _without_culprits(
        self, value: Any, modules: dict[str, ModuleType], error: Exception
    ) -> tuple[Payload, dict[str, ModuleType]]:
        read = names_read(value)
        near = neighbours({**modules, **{name: sys.modules[name] for name in read}})
        for names in (read, None):
            whole = self._whole.and_more(near, lambda part: _refuses(part, modules), names)
            if whole is None:
                continue
            try:
                found = _dumps(carried(value, refused, imported=whole.names), modules, whole)
            except Exception:  # other modules are the cause, or none
                continue
            why = self._culprit(value, modules, error)
            stay = whole.chosen - self._whole.chosen
            self.named.update((name, f"module {name!r} does not travel ({why})") for name in stay)
            self._whole = whole
            return found, {name: module for name, module in modules.items() if name not in self.named}
        raise self._culprit(value, modules, error) from error

    def _culprit(self, value: Any, modules: dict[str, ModuleType], error: Exception) -> SerializationError:
        name = getattr(value, "name", None) or "value"
        part, where = (value.fn, f"{name}.fn") if isinstance(value, TaskSpec) else (value, name)
        with going_whole(self._whole), by_value(modules, cloudpickle):
            try:
                refused(part)
            except Exception as refusal:
                return unpicklable(part, refusal, refused, where)
            return unpicklable(value, error, refused, name)


def _dumps(value: Any, modules: dict[str, ModuleType], whole: WholeModules) -> Payload:
    if not whole.chosen:  # then pickling need not ask for each object
        return dumps(value, modules)
    with going_whole(whole):
        return dumps(value, modules)


def _refuses(value: Any, modules: dict[str, ModuleType]) -> bool:
    try:
        dumps(value, modules)
    except Exception:  # the value's own code may raise anything
        return True
    return False
