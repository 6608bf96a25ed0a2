"""Options of tasks, flows and maps: each spelt and told once, with type, default, check and older spellings.

A field's `check` turns what the user wrote into what the engine reads, or raises ValueError with
the reason. `make` is the only way in: it knows the older spellings and answers a misspelt option
with the nearest name. A field's `doc` is what `help(task)`, `help(flow)` and docs/options.md say of it; how an
option may be written, `core.keywords` tells type checkers.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core import option_checks as check
from anabranch.core.errors import OptionError
from anabranch.core.nearest import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anabranch.core.option_checks import Delay

O = TypeVar("O", "TaskOptions", "FlowOptions", "MapOptions")  # noqa: E741


def _opt(default: Any, check: Callable[[Any], Any], doc: str, *older: str) -> Any:
    """A field of options; a `default` that is a function makes one.

    Args:
        doc: sentences of at most a line each.
        older: other names that it may be given by.
    """
    given: dict[str, Any] = {"default_factory": default} if callable(default) else {"default": default}
    return field(**given, metadata={"check": check, "doc": doc, "older": older})


# Options of maps, which a task may give.
_CHUNK = ("auto", check.auto, 'Items of a map in one chunk. "auto" sizes chunks by measured durations.')
_WINDOW = ("auto", check.auto, 'Items of a map that may be ahead of a reader of `.results()`.')
_KEEP = (
    "values",
    check.one_of("values", "none"),
    '"none" drops the values of a map on the worker. Errors are always kept.',
)

_LOG_ITEMS = (
    False, check.flag,
    "True shows a line for each attempt of a map's item that failed. Without it they are told in one group at the\n"
    "end of the map, and are in the record one by one.",
)  # fmt: skip

_DETACH = (
    False, check.flag,
    "True lets its submitted runs and maps go on when a stop (Ctrl-C, a notebook's stop button) ends a wait for them\n"
    "outside of flows.",
)  # fmt: skip

_SEED = (
    None, check.seed,
    "Where the random numbers come from that its runs draw by `anabranch.context`: the same ones on every runner.\n"
    "A seed given to one `map` is for that map alone. None: the flow's, or one that is made and recorded.",
)  # fmt: skip

# -- the options ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options that tasks and flows have in common."""

    name: str | None = _opt(None, check.text, "Shown in logs and records. Without one: the function's name.")
    description: str | None = _opt(None, check.text, "A text for readers of the code. Nothing reads it.")
    version: str | None = _opt(None, check.text, "A text that hooks and `anabranch.context` show with its runs.")
    tags: tuple[str, ...] = _opt(
        (), check.strings,
        "One tag or several, for all its runs. `with tags(...)` adds more. Limits and records go by them.",
    )  # fmt: skip
    retries: int = _opt(
        0, check.count, "How often it is tried again after an exception or a time-out of its own.", "max_retries"
    )
    retry_delay_seconds: Delay = _opt(
        0.0, check.delay,
        "Seconds before a retry: a number, a timedelta, a list with one for each retry (the last one repeats),\n"
        "or a function of the number of retries that gives such a list. See also `exponential_backoff`.",
        "retry_delay",
    )  # fmt: skip
    retry_jitter_factor: float = _opt(
        0.0, check.jitter, "A delay is stretched by a random part of up to this factor: 0.5 makes 10 s last 10 to 15 s."
    )
    retry_condition_fn: Callable[..., Any] | None = _opt(
        None, check.function, "Called as `(task, run, state)` after a failure. A retry follows only if it gives true."
    )
    retry_on: tuple[type[BaseException], ...] = _opt(
        (), check.exceptions, "Exception types that are worth a retry. Without any: all are."
    )
    timeout_seconds: float | None = _opt(
        None, check.timeout,
        "Seconds that one attempt may take, or a timedelta. Past them it is TimedOut, and may be tried again.",
        "timeout",
    )  # fmt: skip
    persist_result: bool | None = _opt(
        None, check.maybe_flag,
        "True stores the value in the result store. False keeps it out of there, for resumable flows too.",
        "checkpoint",
    )  # fmt: skip
    log_prints: bool | None = _opt(
        None, check.maybe_flag, "Whether `print` writes to the log. None: as the run around it.", "log_stdout"
    )
    on_running: tuple[Callable[..., Any], ...] = _opt(
        (), check.functions, "Hooks `(task or flow, run, state)` for each attempt that begins."
    )
    on_completion: tuple[Callable[..., Any], ...] = _opt(
        (), check.functions, "Hooks for runs that complete."
    )
    on_failure: tuple[Callable[..., Any], ...] = _opt((), check.functions, "Hooks for runs that fail for good.")
    on_cancellation: tuple[Callable[..., Any], ...] = _opt((), check.functions, "Hooks for runs that are cancelled.")
    on_crashed: tuple[Callable[..., Any], ...] = _opt(
        (), check.functions, "Hooks for runs that their infrastructure ended: a worker or a process was lost."
    )
    on_retry: tuple[Callable[..., Any], ...] = _opt(
        (), check.functions, "Hooks for attempts that failed and are followed by another one."
    )
    state_handlers: tuple[Callable[..., Any], ...] = _opt(
        (), check.functions,
        "Functions `(task or flow, old, new)` that each change of state goes through. What they give, if it is\n"
        "a State, takes the place of the new one.",
    )  # fmt: skip
    concurrency_limit: int | None = _opt(
        None, lambda v: None if v is None else check.positive(v),
        "How many runs of it may be under way at once in this program, on every runner.",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskOptions(RunOptions):
    """Options of `@task`."""

    task_run_name: str | Callable[..., str] | None = _opt(
        None, check.template,
        'The name of a run: a template over the parameters ("load-{day}"), or a function that gives it and may\n'
        "take them as `parameters`.",
    )  # fmt: skip
    crash_retries: int = _opt(
        3, check.count, "How often an item runs again whose worker died or ran out of memory. Not counted as `retries`."
    )
    cache_policy: Any = _opt(
        None, check.cache_policy, "What a cache key is made of, from `anabranch.cache_policies`. None: no cache."
    )
    cache_key_fn: Callable[..., Any] | None = _opt(
        None, check.function,
        "Gives the cache key, called as `(context, parameters)`. None from it: no cache for that run.",
    )  # fmt: skip
    cache_expiration: float | None = _opt(
        None, check.expiration,
        "Seconds for which a cached value may be used, or a timedelta. None: for ever.",
        "cache_expiration_seconds", "cache_for",
    )  # fmt: skip
    refresh_cache: bool = _opt(False, check.flag, "True computes anew, and replaces what the cache has.")
    trigger: Callable[..., Any] | None = _opt(
        None, check.function,
        "Which ends of its upstreams let a run begin, from `anabranch.triggers`. None: all have completed.",
    )  # fmt: skip
    on_commit: tuple[Callable[..., Any], ...] = _opt(
        (), check.functions, "Hooks `(transaction)` for runs that completed in a transaction that is committed."
    )
    on_rollback: tuple[Callable[..., Any], ...] = _opt(
        (), check.functions, "Hooks `(transaction)` that undo such runs when the transaction is rolled back."
    )
    cpus: float | None = _opt(None, check.amount, "Processors that one run needs.")
    gpus: float | None = _opt(None, check.amount, "GPUs that one run needs.")
    memory: int | None = _opt(
        None, check.parse_bytes, 'Memory that one run needs: bytes, or a text such as "2 GiB".'
    )
    resources: dict[str, float] = _opt(
        dict, check.amounts, 'Other resources that one run needs, by name: {"licence": 1}.'
    )
    priority: int = _opt(0, check.whole, "Runs of a higher one are sent first.")
    async_concurrency: int = _opt(
        32, check.positive, "How many items of an async map run together on the loop of one chunk."
    )
    chunk: int | str = _opt(*_CHUNK)
    window: int | str = _opt(*_WINDOW)
    keep: str = _opt(*_KEEP)
    log_items: bool = _opt(*_LOG_ITEMS)
    detach: bool = _opt(*_DETACH)
    seed: int | None = _opt(*_SEED)

    def of_maps(self) -> MapOptions:
        """Return the options of its maps, where a map has no own ones; its seed counts its maps, and stays its own."""
        return MapOptions(self.chunk, self.window, self.keep, self.log_items, self.detach)

    @property
    def hooked(self) -> bool:
        """Return whether user code runs at a transition on the worker."""
        return bool(
            self.on_running or self.on_completion or self.on_failure or self.on_retry or self.state_handlers
        )

    @property
    def watched(self) -> bool:
        """Return whether a function of the user's gets the Task, or its run."""
        policies = getattr(self.cache_policy, "policies", (self.cache_policy,))
        keyed = self.cache_key_fn or any(getattr(policy, "cache_key_fn", None) for policy in policies)
        return bool(self.hooked or self.on_crashed or self.on_cancellation or self.retry_condition_fn or keyed)

    @property
    def cached(self) -> bool:
        policy = self.cache_policy is not None and getattr(self.cache_policy, "caches", True)
        return policy or self.cache_key_fn is not None

    def needs(self) -> dict[str, float]:
        """Return the resources of one item; empty when it needs just one slot."""
        wanted = dict(self.resources)
        for name, amount in (("cpus", self.cpus), ("gpus", self.gpus), ("memory", self.memory)):
            if amount is not None:
                wanted[name] = float(amount)
        return wanted


@dataclass(frozen=True, slots=True)
class FlowOptions(RunOptions):
    """Options of `@flow`."""

    flow_run_name: str | Callable[..., str] | None = _opt(
        None, check.template, "The name of a run: as `task_run_name` of a task. Without one: two words made up."
    )
    runner: Any = _opt(
        None, check.as_is,
        'Where its tasks run: "inline", "thread", "process", "dask", "ray", a runner, or its class.\n'
        "None: that of the flow around it, or of the settings.",
        "task_runner", "executor",
    )  # fmt: skip
    validate_parameters: bool = _opt(
        True, check.flag, "Whether arguments are checked against the annotations, and converted to them."
    )
    on_exit: str = _opt(
        "wait", check.one_of("wait", "cancel"),
        'What becomes of runs that are under way when the function returns: "wait" for them, or "cancel" them.',
    )  # fmt: skip
    strict: bool = _opt(
        False, check.flag,
        "True fails the flow for a failure that nobody handled, even where it returned data.",
    )  # fmt: skip
    resumable: bool | None = _opt(
        None, check.maybe_flag,
        "Whether another driver can go on with a run whose driver is gone. None: with `retries` or a `run_key`,\n"
        "and under `anabranch run`.",
    )  # fmt: skip
    run_key: str | None = _opt(
        None, check.text, "A call of the flow goes on with the newest run of this key, instead of beginning a new one."
    )
    seed: int | None = _opt(
        None, check.seed,
        "Where the random numbers come from that it and its tasks draw by `anabranch.context`: the same ones on every\n"
        "runner. None: that of the flow around it, or one that is made and recorded.",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MapOptions:
    """Options of one `map` call, given to it as keywords beside the task's arguments; else those of its task."""

    chunk: int | str = _opt(*_CHUNK)
    window: int | str = _opt(*_WINDOW)
    keep: str = _opt(*_KEEP)
    log_items: bool = _opt(*_LOG_ITEMS)
    detach: bool = _opt(*_DETACH)
    run_key: str | None = _opt(
        None, check.text, "The same call with the same key gets the list that is there, outside of flows."
    )
    seed: int | None = _opt(*_SEED)


MAP_OPTION_NAMES = frozenset(f.name for f in fields(MapOptions))


def make(kind: type[O], where: str, given: Mapping[str, Any], base: O | None = None) -> O:
    """Options of `kind` from keywords, laid over `base`.

    Args:
        where: the task or flow, for messages: ``@task 'load'``.
        given: the keywords as the user wrote them.
        base: options that keywords not given fall back to (`with_options`).

    Raises:
        OptionError: an unknown keyword (the nearest is named), or a value its check refuses.
    """
    known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}
    older: dict[str, str] = {old: name for name, f in known.items() for old in f.metadata["older"]}
    values: dict[str, Any] = {}
    for word, value in given.items():
        name = older.get(word, word)
        if name not in known:
            raise OptionError(_unknown(where, word, [*known, *older]))
        if name in values:
            raise OptionError(f"{where}: {word!r} is an older name of {name!r}; give one of them")
        try:
            values[name] = known[name].metadata["check"](value)
        except ValueError as error:
            raise OptionError(f"{where}: {word} {error}") from None
    return replace(base, **values) if base is not None else kind(**values)


def told(kind: type[RunOptions], indent: str) -> str:
    """Return the text of `help` for the options of `kind`: a paragraph each, indented."""
    parts = []
    for one in fields(kind):
        text = one.metadata["doc"].replace("\n", f"\n{indent}    ")
        parts.append(f"{indent}{one.name}: {text}")
    return "\n".join(parts)


def default_of(option: Field[Any]) -> Any:
    """Return the default of an option."""
    return option.default if option.default_factory is MISSING else option.default_factory()


def _unknown(where: str, word: str, known: list[str]) -> str:
    return f"{where}: unknown option {word!r}; {hint(word, sorted(known))}"


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Delays of `backoff_factor` x 1, 2, 4, ... seconds, for `retry_delay_seconds`.

    Raises:
        ValueError: a negative factor.
    """
    if backoff_factor < 0:
        raise ValueError(f"backoff_factor must be 0 or more, got {backoff_factor}")

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**n for n in range(retries)]

    return delays
