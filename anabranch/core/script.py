"""The `__main__` of a worker: the names of the user's script that came along, or that the driver sends.

import __main__; __main__.Row   is looked up in turn
    in the running task         the Row that its function itself reads
    among code by value         `own_code`
    in the driver               which sends it by value (classes and functions alone)

The script is not run on workers, so their `__main__` is another program's. It keeps its names, but names of the script
go first.
"""

from __future__ import annotations

import os
import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core import own_code
from anabranch.core.context import current_task
from anabranch.core.nested import ReadScript

if TYPE_CHECKING:
    from collections.abc import Callable


class Script(ModuleType):
    """The class of a worker's `__main__`."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            found = _of_the_task(name)
            if found is None:
                found = own_code.roles.made.get((own_code.MAIN, name))
            if found is not None:
                return found
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        found = None if name.startswith("__") else own_code.known_as(name)
        if found is None:
            raise AttributeError(f"module '__main__' of this worker, and of its driver, has no {name!r}")
        return found


def be_a_worker(load: Callable[[bytes], Any]) -> None:
    """Let this process find the driver's script in `__main__` from now on. Idempotent.

    A process that is a driver itself (the workers of an engine may be its threads) stays one.

    Args:
        load: unpickles the driver's answers.
    """
    roles = own_code.roles
    if not roles.home or roles.driver:
        return
    pid = os.getpid()

    def ask(name: str) -> Any:
        here = current_task.get()
        if here is None or here.scope is None or os.getpid() != pid:  # no driver to ask, or a forked copy
            return None
        data = here.scope.ask(ReadScript(name))
        return None if data is None else load(data)

    roles.home, roles.ask = False, ask
    main = sys.modules["__main__"]
    if type(main) is ModuleType:
        main.__class__ = Script


def of_the_script(name: str) -> Any:
    """Return, in the driver, a class or function of the script by name, or a task made of one; None: there is none."""
    found = getattr(sys.modules[own_code.MAIN], name, None)
    made_of = getattr(found, "fn", None) if type(found).__module__.startswith("anabranch.") else found
    return found if isinstance(made_of, (type, FunctionType)) else None


def _of_the_task(name: str) -> Any:
    """Return the object that the running task's function finds under the name; None: there is none."""
    here = current_task.get()
    fn = here.fns.get(here.run.map_id) if here is not None else None
    known = getattr(fn, "__globals__", None)
    return known.get(name) if known is not None and known.get("__name__") == "__main__" else None
