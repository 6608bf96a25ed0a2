"""Prefect's exceptions. Where anabranch raises one of its own for the same reason, both names stand for one class."""

from __future__ import annotations

import inspect
import traceback
from typing import TYPE_CHECKING, Any, Self

from anabranch.core import errors
from anabranch.core.errors import (
    AnabranchError,
    CancelledRun,
    ConfigurationError,
    CrashedRun,
    FailedRun,
    MissingContextError,
    UnfinishedRun,
)
from anabranch.core.terminated import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import ValidationError

PrefectException = AnabranchError
SerializationError = errors.SerializationError
UpstreamTaskError = errors.UpstreamError

__all__ = [
    "Abort",
    "CancelledRun",
    "ConfigurationError",
    "CrashedRun",
    "FailedRun",
    "MissingContextError",
    "PrefectException",
    "SerializationError",
    "UnfinishedRun",
    "UpstreamTaskError",
]


class PausedRun(errors.RunError):
    """Raised when the result of a paused run is read."""

    def __init__(self, *args: Any, state: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state = state


class MissingFlowError(AnabranchError):
    """Raised when a script has no flow of the given name."""


class UnspecifiedFlowError(AnabranchError):
    """Raised when a script has several flows and none was named."""


class MissingResult(AnabranchError):
    """Raised when a state has no data."""


class ScriptError(AnabranchError):
    """Raised when a script fails while a flow is loaded from it."""

    def __init__(self, user_exc: Exception, path: str) -> None:
        super().__init__(f"Script at {str(path)!r} encountered an exception: {user_exc!r}")
        self.user_exc = user_exc


class ParameterTypeError(errors.ParameterTypeError):
    """Raised when a flow's arguments do not validate."""

    @classmethod
    def from_validation_error(cls, exc: ValidationError) -> Self:
        lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in exc.errors()]
        return cls("\n - ".join(["Flow run received invalid parameters:", *lines]))


class ParameterBindError(errors.ParameterBindError):
    """Raised when arguments do not fit a function."""

    @classmethod
    def from_bind_failure(
        cls, fn: Callable[..., Any], exc: TypeError, call_args: tuple[Any, ...], call_kwargs: dict[str, Any]
    ) -> Self:
        name = getattr(fn, "__name__", type(fn).__name__)
        wanted = str(inspect.signature(fn)).strip("()")
        return cls(
            f"Error binding parameters for function '{name}': {exc}.\n"
            f"Function '{name}' has signature '{wanted}' but received args: {call_args} and kwargs: "
            f"{list(call_kwargs)}."
        )


class SignatureMismatchError(AnabranchError, TypeError):
    """Raised when parameters by name do not fit a function."""

    @classmethod
    def from_bad_params(cls, expected_params: list[str], provided_params: list[str]) -> Self:
        return cls(f"Function expects parameters {expected_params} but was provided with parameters {provided_params}")


class ReservedArgumentError(AnabranchError, TypeError):
    """Raised when a function's argument has a name that calls of tasks and flows use themselves."""


class InvalidNameError(AnabranchError, ValueError):
    """Raised for a name with characters that are not allowed."""


class MappingLengthMismatch(errors.MapError):
    """Raised by `Task.map` when its arguments differ in length."""


class MappingMissingIterable(errors.MapError):
    """Raised by `Task.map` when none of its arguments is iterable."""


class HashError(AnabranchError):
    """Raised when objects cannot be hashed."""


class MissingProfileError(AnabranchError, ValueError):
    """Raised by nothing here: anabranch has no profiles."""


class ObjectNotFound(AnabranchError):
    """Raised by the client for a run that is not in the record."""

    def __init__(self, http_exc: Exception | None = None, help_message: str | None = None, *args: Any) -> None:
        self.http_exc = http_exc
        self.help_message = help_message
        super().__init__(help_message, *args)

    def __str__(self) -> str:
        return self.help_message or str(self.http_exc)


class ObjectAlreadyExists(ObjectNotFound):
    """Raised by nothing here."""


class PrefectSignal(BaseException):
    """Base of signals that end a run."""


class Abort(PrefectSignal):
    """Raised to end a run at once."""


class Pause(PrefectSignal):
    """Raised to leave a run that is paused."""

    def __init__(self, *args: Any, state: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state = state


class ExternalSignal(BaseException):
    """Base of signals from outside the program."""


class TerminationSignal(ExternalSignal, Terminated, SystemExit):
    """Raised in a flow's function, and out of the flow, at a SIGTERM; uncaught it ends the program with 143."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal, self.code = signal, 128 + signal


class NotPausedError(AnabranchError):
    """Raised by nothing here."""


class FlowPauseTimeout(AnabranchError):
    """Raised by nothing here."""


class FlowRunWaitTimeout(AnabranchError):
    """Raised when a flow run takes longer than its reader waits."""


class PrefectImportError(ImportError):
    """Raised when a name has moved or is gone."""


class InfrastructureError(AnabranchError):
    """Raised by nothing here."""


def exception_traceback(exc: BaseException) -> str:
    """Return an exception with its traceback as text."""
    return "".join(traceback.TracebackException.from_exception(exc).format())
