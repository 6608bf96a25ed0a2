"""Submitted flows: each runs in a thread of its own in the driver, and its caller has a future of it."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import TYPE_CHECKING, Any

from anabranch.core.failures import capture
from anabranch.core.futures import Future
from anabranch.core.states import Crashed, Failed, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import ErrorInfo
    from anabranch.runnables import Runnable
    from anabranch.scope import Scope


def submit(scope: Scope, flow: Runnable, start: Callable[[], State]) -> Future:
    """Begin a flow run beside the caller.

    Args:
        scope: the flow run (or program) that submits, which waits for it at its end.
        flow: what the record calls it.
        start: runs the flow in the new thread and gives its final state; may raise before a run exists.
    """
    map = scope._series(flow, "flow")
    index = next(map.append_index)
    pump, dispatcher = scope.pump, scope.pump.dispatcher
    pump.call(dispatcher.call_began, map, index)
    pump.call(dispatcher.handle_taken, map, index)
    here = contextvars.copy_context()

    def run() -> None:
        began, zero = time.time(), time.perf_counter()
        try:
            state = here.run(start)
        except Exception as error:
            state = Failed(f"{type(error).__name__}: {error}", error)
        except BaseException as error:  # sys.exit in a flow ends that flow, not the program
            state = Crashed(f"Execution was ended by {type(error).__name__}: {error}", error)
        info = None if state.is_completed() else _info(state)
        value = state.data if state.is_completed() else None
        times = (began, began + time.perf_counter() - zero)
        pump.call(dispatcher.flow_ended, map, index, state.code, state.message, info, times, value)

    threading.Thread(target=run, name=f"anabranch-flow-{flow.name}", daemon=True).start()
    return Future(map, index)


def _info(state: State) -> ErrorInfo:
    error: Any = state.data
    return capture(error if isinstance(error, BaseException) else state.exception(), in_process=True)
