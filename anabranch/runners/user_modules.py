"""The user's modules on their way to workers elsewhere: by value, but for those that hold what cannot travel.

A lock, a connection, an open file at the top of a module belong to their process. Workers import such a
module for themselves, as they would in a plain program, and each has a lock of its own; what the driver's
module holds besides is carried to it. Where a worker cannot import it, its error says what kept it from travelling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.contracts import TaskSpec
from anabranch.core.culprits import unpicklable
from anabranch.core.module_state import carried
from anabranch.core.user_code import by_value, local_modules
from anabranch.runners.payloads import Payload, dumps
from anabranch.runners.value_files import refused

if TYPE_CHECKING:
    from types import ModuleType

    from anabranch.core.errors import SerializationError


class UserModules:
    """What one runner has met of them; from any thread."""

    def __init__(self) -> None:
        self.travelling: dict[str, ModuleType] = {}
        self.named: dict[str, str] = {}  # those that workers import, and why they do not travel

    def shared(self, value: Any) -> Payload:
        """A shared value, with the modules that it needs; raises SerializationError with the path to the culprit."""
        modules = {**self.travelling, **local_modules(value)}
        modules = {name: module for name, module in modules.items() if name not in self.named}
        whole = carried(value, refused, imported=self.named.keys())
        try:
            found = dumps(whole, modules)
        except Exception as error:  # whatever the code of an object raises that is pickled
            found, modules = self._without_culprits(value, modules, error)
        self.travelling = modules
        found.note = "; ".join(self.named.values())
        return found

    def dumps(self, value: Any) -> Payload:
        """A chunk; raises what its pickling raises."""
        return dumps(value, self.travelling)

    def again(self, value: Any) -> Payload:
        """A shared value that was pickled before; raises what its pickling raises."""
        return self.dumps(carried(value, refused, imported=self.named.keys()))

    def _without_culprits(
        self, value: Any, modules: dict[str, ModuleType], error: Exception
    ) -> tuple[Payload, dict[str, ModuleType]]:
        named = {name: self._refusal(value, {name: module}) for name, module in modules.items()}
        stay = {name: why for name, why in named.items() if why is not None}
        left = {name: module for name, module in modules.items() if name not in stay}
        whole = carried(value, refused, imported={*self.named, *stay})
        try:
            found = dumps(whole, left)
        except Exception:  # no module is to blame
            raise self._culprit(value, modules, error) from error
        self.named.update((name, f"module {name!r} does not travel ({why})") for name, why in stay.items())
        return found, left

    def _refusal(self, value: Any, module: dict[str, ModuleType]) -> SerializationError | None:
        """Why the value cannot travel with this module; None: it can."""
        try:
            dumps(value, module)
        except Exception as error:
            return self._culprit(value, module, error)
        return None

    def _culprit(self, value: Any, modules: dict[str, ModuleType], error: Exception) -> SerializationError:
        name = getattr(value, "name", None) or "value"
        part, where = (value.fn, f"{name}.fn") if isinstance(value, TaskSpec) else (value, name)
        with by_value(modules, cloudpickle):
            try:
                refused(part)
            except Exception as refusal:
                return unpicklable(part, refusal, refused, where)
            return unpicklable(value, error, refused, name)
