"""Cache policies: which task runs count as the same run.

Public as `anabranch.cache_policies`. A policy computes a key; equal keys share one stored value.
Policies are added (``INPUTS + TASK_SOURCE``) and arguments are taken out (``INPUTS - "verbose"``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from anabranch.core.errors import OptionError, SerializationError
from anabranch.core.identity import identity_of
from anabranch.core.keys import hash_value
from anabranch.core.owners import task_of

if TYPE_CHECKING:
    from anabranch.core.context import TaskRun
    from anabranch.core.task_spec import TaskSpec

Digest = Callable[[Any, str], str]  # (value, its name in errors) -> hash
EVERYTHING = frozenset({"inputs", "source", "flow_parameters"})


class Inputs(dict[str, Any]):
    """A call's bound arguments, with the function that hashes one argument (a `ConstantHasher`)."""

    __slots__ = ("digest",)

    def __init__(self, values: dict[str, Any], digest: Digest) -> None:
        super().__init__(values)
        self.digest: Digest = digest

    def __reduce__(self) -> Any:
        return (dict, (dict(self),))  # a policy of the user's may key by their pickle


@dataclass(frozen=True, slots=True)
class KeyContext:
    """The first argument of a `cache_key_fn`: the task and the run to make a key for."""

    spec: TaskSpec
    task_run: TaskRun
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> Any:
        """The Task."""
        return task_of(self.spec)

    @property
    def flow_run_id(self) -> str:
        return self.task_run.flow_run_id


class CachePolicy:
    """Base of cache policies; a policy of one's own overrides `compute_key`.

    Attributes:
        reads: which of ``inputs``, ``source`` and ``flow_parameters`` the key depends on. Data that no policy reads is
                not sent to workers.
    """

    reads: ClassVar[frozenset[str]] = EVERYTHING

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        """Return the run's key, None when this policy makes none for it.

        Raises:
            SerializationError: a part of the key cannot be hashed; names the path to it.
        """
        raise NotImplementedError

    def __add__(self, other: Any) -> CachePolicy:
        """Return a policy under which runs are the same only if they are the same by both."""
        if not hasattr(other, "compute_key"):
            return NotImplemented
        if isinstance(other, NoCache):
            return self
        parts = tuple(dict.fromkeys((*_parts(self), *_parts(other))))
        return parts[0] if len(parts) == 1 else CompoundPolicy(parts)

    def __sub__(self, argument: Any) -> CachePolicy:
        """Return the policy without one argument of the task."""
        if not isinstance(argument, str):
            raise OptionError(f"{self!r} - {argument!r}: must be the name of an argument")
        raise OptionError(f"{self!r} - {argument!r}: only a policy with INPUTS in it can leave out an argument")


@dataclass(frozen=True)
class InputsPolicy(CachePolicy):
    """The same task with the same arguments: a task counts by name, code, and all that the code closes over and reads.

    The constants of a map are hashed once on each worker, unless they are among ``*args`` or
    ``**kwargs``: a task that changes one in place does not change the keys of later items.
    """

    exclude: tuple[str, ...] = ()
    reads: ClassVar[frozenset[str]] = frozenset({"inputs"})

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        if not inputs:
            return None
        digest = _digest_of(inputs)
        rows = [f"{name}={digest(inputs[name], f'inputs[{name!r}]')}" for name in inputs if name not in self.exclude]
        return hash_value("\n".join([spec.name, _state(spec), *sorted(rows)]))

    def __sub__(self, argument: Any) -> CachePolicy:
        if not isinstance(argument, str):
            return super().__sub__(argument)
        return InputsPolicy(tuple(sorted({*self.exclude, argument})))

    def __repr__(self) -> str:
        return " - ".join(["INPUTS", *map(repr, self.exclude)])


@dataclass(frozen=True)
class TaskSourcePolicy(CachePolicy):
    """The same code, with all that it closes over and reads, and the same source text."""

    reads: ClassVar[frozenset[str]] = frozenset({"source"})

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        return hash_value((spec.source, _state(spec)))

    def __repr__(self) -> str:
        return "TASK_SOURCE"


@dataclass(frozen=True)
class RunIdPolicy(CachePolicy):
    """The same task in the same flow run; outside a flow, the same task run."""

    reads: ClassVar[frozenset[str]] = frozenset[str]()

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        return f"{run.flow_run_id or run.id}/{spec.name}/{_state(spec)}"

    def __repr__(self) -> str:
        return "RUN_ID"


@dataclass(frozen=True)
class FlowParametersPolicy(CachePolicy):
    """The same task in a flow run that was called with the same parameters."""

    reads: ClassVar[frozenset[str]] = frozenset({"flow_parameters"})

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        if not flow_parameters:
            return None
        return hash_value(f"{spec.name}\n{_state(spec)}\n{_digest_of(inputs)(flow_parameters, 'flow_parameters')}")

    def __repr__(self) -> str:
        return "FLOW_PARAMETERS"


@dataclass(frozen=True)
class CacheKeyFnPolicy(CachePolicy):
    """The key that a function ``(context, parameters) -> str | None`` returns, unchanged."""

    cache_key_fn: Callable[[KeyContext, dict[str, Any]], str | None]
    reads: ClassVar[frozenset[str]] = frozenset({"inputs", "source"})

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        return self.cache_key_fn(KeyContext(spec, run, inputs), dict(inputs))

    def __repr__(self) -> str:
        name = getattr(self.cache_key_fn, "__qualname__", None) or repr(self.cache_key_fn)
        return f"CacheKeyFnPolicy({name})"


@dataclass(frozen=True)
class NoCache(CachePolicy):
    """Never the same: the run is not cached. Added to another policy it changes nothing."""

    caches = False

    reads: ClassVar[frozenset[str]] = frozenset[str]()

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        return None

    def __add__(self, other: Any) -> CachePolicy:
        if not hasattr(other, "compute_key"):
            return NotImplemented
        return other  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return "NO_CACHE"


@dataclass(frozen=True)
class CompoundPolicy(CachePolicy):
    """The same by every part; parts that answer None are left out, and all None is None."""

    policies: tuple[CachePolicy, ...]

    @property
    def reads(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset[str]().union(*(getattr(part, "reads", EVERYTHING) for part in self.policies))

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        rows = []
        for part in self.policies:
            key = part.compute_key(spec, run, inputs, flow_parameters)
            if key is not None:
                rows.append(f"{type(part).__name__}={key}")
        return hash_value("\n".join(sorted(rows))) if rows else None

    def __sub__(self, argument: Any) -> CachePolicy:
        if not isinstance(argument, str) or not any(isinstance(part, InputsPolicy) for part in self.policies):
            return super().__sub__(argument)
        return CompoundPolicy(tuple(p - argument if isinstance(p, InputsPolicy) else p for p in self.policies))

    def __repr__(self) -> str:
        if self == DEFAULT:
            return "DEFAULT"
        return " + ".join(f"({part!r})" if " - " in repr(part) else repr(part) for part in self.policies)


def task_input_hash(context: KeyContext, parameters: dict[str, Any]) -> str | None:
    """A `cache_key_fn`: the same task, with the same code and the same arguments.

    Raises:
        SerializationError: an argument or the task cannot be hashed; the run then goes on without a cache.
    """
    inputs = Inputs(parameters, _digest_of(context.parameters))
    return _TASK_INPUT.compute_key(context.spec, context.task_run, inputs)


def _parts(policy: Any) -> tuple[Any, ...]:
    return policy.policies if isinstance(policy, CompoundPolicy) else (policy,)


def _digest_of(inputs: dict[str, Any]) -> Digest:
    return inputs.digest if isinstance(inputs, Inputs) else hash_input


def hash_input(value: Any, where: str) -> str:
    """Return the hash of one argument, computed each time: the `Digest` where there are no constants."""
    return hash_value(value, None, where, True)


def _state(spec: TaskSpec) -> str:
    """Return the task's identity; raises SerializationError where it cannot be told apart from others."""
    found = spec.computed.identity() if spec.computed is not None else identity_of(spec.fn)
    if found.opaque:
        raise SerializationError(f"{found.opaque}; a cache_key_fn of the task's own decides without it")
    return found.state


INPUTS = InputsPolicy()
TASK_SOURCE = TaskSourcePolicy()
RUN_ID = RunIdPolicy()
FLOW_PARAMETERS = FlowParametersPolicy()
NO_CACHE = NoCache()
NONE = NO_CACHE
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID
_TASK_INPUT = INPUTS + TASK_SOURCE

__all__ = [
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NONE",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CacheKeyFnPolicy",
    "CachePolicy",
    "task_input_hash",
]
