"""What a worker finds in `__main__`: the user's script, as far as it came along or can be asked for.

    import __main__; __main__.Row
        of the task that runs       what its function itself calls Row
        that came with any pickle   `own_code`
        that is asked for           the driver sends it by value (classes and functions alone)

The script is not run on workers, so their `__main__` is another program's. It keeps what it has; but
what the script has under a name goes before that.
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
    """Have this process find the driver's script in `__main__`, from now on. Idempotent.

    A process that is a driver itself (an engine whose workers are threads) stays one.

    Args:
        load: unpickles what the driver sends.
    """
    roles = own_code.roles
    if not roles.home or roles.driver:
        return
    pid = os.getpid()

    def ask(name: str) -> Any:
        here = current_task.get()
        if here is None or here.scope is None or os.getpid() != pid:  # nobody to ask, or it is another's to ask
            return None
        data = here.scope.ask(ReadScript(name))
        return None if data is None else load(data)

    roles.home, roles.ask = False, ask
    main = sys.modules["__main__"]
    if type(main) is ModuleType:
        main.__class__ = Script


def of_the_script(name: str) -> Any:
    """In the driver: a class or function of the script by its name, or what is made of one; None: no such thing."""
    found = getattr(sys.modules[own_code.MAIN], name, None)
    made_of = getattr(found, "fn", None) if type(found).__module__.startswith("anabranch.") else found
    return found if isinstance(made_of, (type, FunctionType)) else None


def _of_the_task(name: str) -> Any:
    """What the function of the running task finds under the name; None: nothing."""
    here = current_task.get()
    fn = here.fns.get(here.run.map_id) if here is not None else None
    known = getattr(fn, "__globals__", None)
    return known.get(name) if known is not None and known.get("__name__") == "__main__" else None
