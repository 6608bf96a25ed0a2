"""Every error that anabranch raises: one base, depth two, one sentence each on its cause."""

from __future__ import annotations


class AnabranchError(Exception):
    """Base of all errors raised by anabranch; user exceptions are never wrapped in it."""


# -- definition and arguments: raised before a run exists ---------------------------------------


class OptionError(AnabranchError, TypeError):
    """Raised at decoration for an unknown option (names the nearest one) or a bad value."""


class ParameterBindError(AnabranchError, TypeError):
    """Raised by a call, `submit` or `map` when the arguments do not fit the function's signature."""


class ParameterTypeError(AnabranchError, TypeError):
    """Raised by a flow when its arguments do not validate against its annotations."""


class MapError(AnabranchError, ValueError):
    """Raised by `map` when nothing is iterable or lengths differ; names the arguments."""


class ConfigurationError(AnabranchError):
    """Raised for a bad setting; names the setting, its source and the accepted values."""


class MissingExtraError(AnabranchError, ImportError):
    """Raised when a feature needs an optional package; says which extra to install."""


class SerializationError(AnabranchError, TypeError):
    """Raised when a value cannot be pickled; has the path to the part that refuses."""


class ResourceError(AnabranchError, ValueError):
    """Raised at submit when no worker could ever have the resources that the task asks for."""


# -- what became of a run ------------------------------------------------------------------------


class RunError(AnabranchError):
    """Base of errors that say how a run ended; `state` is the run's state when known."""

    state: object | None = None


class FailedRun(RunError):
    """Raised by `result()` of a failed run that holds no exception of its own."""


class CrashedRun(RunError):
    """Raised by `result()` of a run that the infrastructure ended: a lost worker, a poison item."""


class CancelledRun(RunError):
    """Raised by `result()` of a run that was cancelled."""


class UnfinishedRun(RunError):
    """Raised when the result of a state that is not final is read."""


class UpstreamError(RunError):
    """Raised in place of a result when a run was not admitted by its trigger; names the upstream."""


class TaskTimeoutError(RunError, TimeoutError):
    """The exception of an attempt that ran past `timeout_seconds`."""


class ResultReleased(RunError):
    """Raised when a value is read after its last reader has gone; says how to keep it."""


class RemoteError(RunError):
    """Stands in for a user's exception that cannot be rebuilt here; keeps its type name and traceback text."""

    def __init__(self, type_name: str = "Exception", message: str = "", traceback: str = "") -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str, str]]:
        return (type(self), (self.type_name, self.message, self.traceback))


# -- the machinery -------------------------------------------------------------------------------


class RunnerError(AnabranchError):
    """Raised when a runner cannot start, has lost its engine, or is used after it was closed."""


class LaunchError(AnabranchError):
    """Raised when a job cannot be started, looked at or ended elsewhere; says what the infrastructure answered."""


class KubernetesError(LaunchError):
    """Raised when the API server of Kubernetes refuses, or does not answer; says what to do.

    Attributes:
        code: of HTTP; 0: there was no answer.
        reason: the server's word, such as "AlreadyExists"; "" for none.
        retry_after: seconds after which the server wants to be asked again; None: it has not said.
    """

    def __init__(self, message: str, *, code: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class StepError(AnabranchError):
    """Raised by `run_step` and shell operations when a program ends with a code other than 0; has its last lines.

    Attributes:
        code: as a shell has it: 127 for a missing program, 128 and the number of a signal.
        output: what it wrote to its standard output; of much, the last.
    """

    def __init__(self, message: str = "", code: int = 1, output: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.output = output

    def __reduce__(self) -> tuple[type[StepError], tuple[str, int, str]]:
        return (type(self), (str(self), self.code, self.output))


class VersionMismatch(RunnerError):
    """Raised when driver and workers differ in Python, anabranch, cloudpickle or engine; names both."""


class ValueLost(RunnerError):
    """Raised by a runner for a block that was lost with its worker; the loss is reported as an event as well."""


class ResumeError(AnabranchError):
    """Raised when a recorded run cannot be resumed; says why, and what to do instead."""


class CodeChanged(ResumeError):
    """Raised when a resumed run calls a task with changed code; says how to decide."""


class RunTakenError(ResumeError):
    """Raised when another driver drives the run, or took it over from this one."""


class ServiceError(AnabranchError):
    """Raised by the service for what it cannot do: an unknown pool, a deployment that is gone, a bad schedule."""


class AccessError(ServiceError):
    """Raised where a key is missing, wrong, expired or too weak for what is asked."""


class UnreachableError(ServiceError):
    """Raised when the server of the service does not answer; what was asked for may have been done."""


class EntrypointError(AnabranchError):
    """Raised when there is no file, module or flow of a name; names the nearest."""


class LoadError(EntrypointError):
    """Raised when the file or the module of a flow does not load; has the trace from the user's code on."""


class ParametersRefused(ParameterTypeError, ServiceError):
    """Raised when the parameters of an order or a deployment do not fit its flow's."""


class DeploymentError(AnabranchError, ValueError):
    """Raised for a deployment that cannot be read: a misspelt key (the nearest is named), a file that is gone."""


class FetchError(AnabranchError):
    """Raised where the code of a deployment cannot be fetched, or is asked for in a way that is refused."""


class ReplayError(AnabranchError):
    """Raised when a task run cannot be replayed: its inputs are not stored, or cannot be read; says what to do."""


class StoreError(AnabranchError):
    """Raised by a result store that cannot read or write; names the path."""


class RecordsError(AnabranchError):
    """Raised by the records when the file is damaged, newer than this version, or no record."""


class RecordRefused(AccessError, RecordsError):
    """Raised where the record is there, and the key may not ask this of it: asking again does not help."""


class TransitionError(AnabranchError):
    """Raised when a state change is not in the transition table: a bug, or a bad answer of a handler."""


class MissingContextError(AnabranchError, RuntimeError):
    """Raised outside a run by functions that need one, such as `get_run_logger`."""
