"""Names by which a program's own namespace and its last error hold something: for the search for a holder.

    variables of the script or notebook      `fs`, `rows`
    outputs of cells                         Out[3]; `_`, `__` and `___`, which hold the last three as well
    the last error that nobody caught        `fs` in work(), of the last error: its frames hold what they named
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import attribute
from anabranch.core.insides import attributes_of
from anabranch.core.reads import is_own_class
from anabranch.core.tracebacks import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEEPEST = 3  # containers and objects inside each other that are looked into
MOST = 10_000  # parts of one that are looked at
_HISTORY = re.compile(r"_+|_\d+|_oh|Out|In|_ih|_i+|_i\d+|_dh")


def names_of(holds: Callable[[Any], bool]) -> Iterator[str]:
    """Yield the names behind which a value is, or holds, one that `holds` says yes to."""
    space = dict(vars(sys.modules["__main__"]))
    outputs = space.get("_oh")
    if type(outputs) is dict:  # of IPython
        yield from (f"Out[{n}]" for n, value in list(outputs.items()) if _within(value, holds))
        yield from (f"`{name}`" for name in ("_", "__", "___") if _within(space.get(name), holds))
    else:
        outputs = None
    for name, value in space.items():
        if (outputs is None or not _HISTORY.fullmatch(name)) and _within(value, holds):
            yield f"the variable `{name}`"
    yield from dict.fromkeys(_of_last_error(holds))


def _shell() -> Any:
    """Return IPython's shell; None where there is none."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def _of_last_error(holds: Callable[[Any], bool]) -> Iterator[str]:
    """Yield local names of the frames of the error that the interpreter, or the shell, keeps."""
    left: list[Any] = [getattr(sys, name, None) for name in ("last_exc", "last_value")]
    shown = attribute(attribute(_shell(), "InteractiveTB"), "tb")  # by the shell, which keeps it
    tracebacks, seen = [getattr(sys, "last_traceback", None), shown], set[int]()
    while left:
        error = left.pop()
        if isinstance(error, BaseException) and id(error) not in seen:
            seen.add(id(error))
            tracebacks.append(error.__traceback__)
            left += (error.__cause__, error.__context__)
    for frame in _frames(tracebacks):
        code = frame.f_code
        if ours(code.co_filename) or frame.f_globals is frame.f_locals:
            continue
        for name, value in list(frame.f_locals.items()):
            if _within(value, holds):
                yield f"`{name}` in {code.co_name}(), of the last error"


def _frames(tracebacks: Iterable[Any]) -> Iterator[Any]:
    for one in tracebacks:
        while one is not None:
            yield one.tb_frame
            one = one.tb_next


def _within(value: Any, holds: Callable[[Any], bool], depth: int = 0) -> bool:
    if holds(value):
        return True
    if depth >= DEEPEST:
        return False
    kind = type(value)
    parts: Iterable[Any] = ()
    if kind is dict:
        parts = list(value.values())[:MOST]
    elif kind in (list, tuple, set, frozenset):
        parts = list(value)[:MOST]
    elif is_own_class(kind) and not isinstance(value, type):
        parts = attributes_of(value).values()
    return any(_within(part, holds, depth + 1) for part in parts)
