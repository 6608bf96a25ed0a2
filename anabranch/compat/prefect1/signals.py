"""Prefect 1's signals: exceptions that say how the run ends that raises them."""

from __future__ import annotations

from typing import Any, ClassVar

from anabranch.compat.prefect1 import states


class PrefectStateSignal(Exception):
    """Base of the signals.

    Args:
        result: the value of the run.
    """

    kind: ClassVar[type[states.State]] = states.State

    def __init__(self, message: str | None = None, result: Any = None, **given: Any) -> None:
        super().__init__(message or "")
        self.message = message
        self.given = {**given, "result": result}

    @property
    def state(self) -> states.State:
        """The state that it stands for."""
        given = {"result": self, **{name: value for name, value in self.given.items() if value is not None}}
        if not issubclass(self.kind, states.Failed):
            given["result"] = self.given["result"]
        return self.kind(self.message, **given)

    def __reduce__(self) -> Any:
        return (_again, (type(self), self.message, self.given))


def _again(kind: type[PrefectStateSignal], message: str | None, given: dict[str, Any]) -> PrefectStateSignal:
    return kind(message, **given)


def _signal(name: str, kind: type[states.State], doc: str) -> Any:
    return type(name, (PrefectStateSignal,), {"kind": kind, "__doc__": doc, "__module__": __name__})


FAIL: Any = _signal("FAIL", states.Failed, "The run has failed.")
TRIGGERFAIL: Any = _signal("TRIGGERFAIL", states.TriggerFailed, "In a trigger: the run does not begin.")
VALIDATIONFAIL: Any = _signal("VALIDATIONFAIL", states.ValidationFailed, "The run has failed: its value was refused.")
SUCCESS: Any = _signal("SUCCESS", states.Success, "The run has ended well, with `result` as its value.")
SKIP: Any = _signal("SKIP", states.Skipped, "The run is skipped, and so is what depends on it.")
RETRY: Any = _signal("RETRY", states.Retrying, "The attempt has failed; another one follows while `max_retries` lasts.")
LOOP: Any = _signal("LOOP", states.Running, "The task runs again, with `result` in the context as `task_loop_result`.")
PAUSE: Any = _signal("PAUSE", states.Failed, "Fails the run: there is no server that could go on with it.")

__all__ = ["FAIL", "LOOP", "PAUSE", "RETRY", "SKIP", "SUCCESS", "TRIGGERFAIL", "VALIDATIONFAIL", "PrefectStateSignal"]
