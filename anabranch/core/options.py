"""Options of tasks, flows and maps: each spelt once, with type, default, check and older spellings.

A field's `check` turns what the user wrote into what the engine reads, or raises ValueError with
the reason. `make` is the only way in: it knows the older spellings and answers a misspelt option
with the nearest name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

from anabranch.core.errors import OptionError

O = TypeVar("O", "TaskOptions", "FlowOptions", "MapOptions")  # noqa: E741
Delay = float | tuple[float, ...] | Callable[[int], Any]
MAX_DELAYS = 50

# -- checks --------------------------------------------------------------------------------------


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"wants seconds (a number or a timedelta), got {value!r}")
    if number < 0 or number != number:
        raise ValueError(f"cannot be {value!r}: seconds count from 0")
    return float(number)


def _timeout(value: Any) -> float | None:
    return _seconds(value) or None  # 0 means none, as Prefect users write it


def _count(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"wants a whole number, got {value!r}")
    if value < 0:
        raise ValueError(f"cannot be {value}: it counts from 0")
    return value


def _delay(value: Any) -> Delay:
    if value is None:
        return 0.0
    if callable(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, (list, tuple)):
        if len(value) > MAX_DELAYS:
            raise ValueError(f"takes at most {MAX_DELAYS} delays, got {len(value)}; the last one repeats")
        return tuple(_seconds(v) or 0.0 for v in value)
    return _seconds(value) or 0.0


def _jitter(value: Any) -> float:
    number = _seconds(value)
    return number or 0.0


def _function(value: Any) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise ValueError(f"wants a function, got {value!r}")
    return value  # type: ignore[no-any-return]


def _functions(value: Any) -> tuple[Callable[..., Any], ...]:
    if value is None:
        return ()
    if callable(value):
        return (value,)
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(f"wants a function or a list of functions, got {value!r}")
    found = tuple(value)
    for one in found:
        if not callable(one):
            raise ValueError(f"wants functions, got {one!r} among them")
    return found


def _strings(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise ValueError(f"wants strings, got {value!r}")
    found = tuple(value)
    for one in found:
        if not isinstance(one, str):
            raise ValueError(f"wants strings, got {one!r}")
    return tuple(dict.fromkeys(found))


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"wants a string, got {value!r}")
    return value


def _template(value: Any) -> str | Callable[..., str] | None:
    if value is None or isinstance(value, str):
        return value
    if callable(value):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"wants a format string or a function, got {value!r}")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"wants True or False, got {value!r}")
    return value


def _maybe_flag(value: Any) -> bool | None:
    return None if value is None else _flag(value)


def _exceptions(value: Any) -> tuple[type[BaseException], ...]:
    if value is None:
        return ()
    found = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ValueError(f"wants exception types, got {one!r}")
    return tuple(found)


_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(value: Any) -> int | None:
    """Bytes from a number or a text such as "2 GiB", "500MB", "1.5G"."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    if isinstance(value, str):
        text = value.strip().lower().removesuffix("b").strip()
        digits = text.rstrip("kmgti ")
        try:
            return int(float(digits) * _UNITS.get(text[len(digits) :].strip(), 1 if text == digits else 0)) or None
        except ValueError:
            pass
    raise ValueError(f'wants a size such as 2_000_000_000 or "2 GiB", got {value!r}')


def _amount(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"wants a number from 0, got {value!r}")
    return float(value)


def _amounts(value: Any) -> dict[str, float]:
    if not value:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f'wants a dict such as {{"licence": 1}}, got {value!r}')
    return {str(name): _amount(amount) or 0.0 for name, amount in value.items()}


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"wants a whole number, got {value!r}")
    return value


def _positive(value: Any) -> int:
    number = _whole(value)
    if number < 1:
        raise ValueError(f"cannot be {number}: it counts from 1")
    return number


def _auto(value: Any) -> int | Literal["auto"]:
    return "auto" if value in (None, "auto") else _positive(value)


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"wants one of {', '.join(map(repr, words))}, got {value!r}")
        return str(value)

    return check


def _as_is(value: Any) -> Any:
    return value


def _cache_policy(value: Any) -> Any:
    if value is None or hasattr(value, "compute_key"):
        return value
    raise ValueError(f"wants a policy from anabranch.cache_policies, got {value!r}")


def _expiration(value: Any) -> float | None:
    return _seconds(value)


def _opt(default: Any, check: Callable[[Any], Any], *older: str) -> Any:
    return field(default=default, metadata={"check": check, "older": older})


def _opt_dict(check: Callable[[Any], Any]) -> Any:
    return field(default_factory=dict, metadata={"check": check, "older": ()})


_MEASURED = ("auto", _auto)  # of maps, whose options their task may give
_KEPT = ("values", _one_of("values", "none"))

# -- the options ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What tasks and flows have in common."""

    name: str | None = _opt(None, _text)
    description: str | None = _opt(None, _text)
    version: str | None = _opt(None, _text)
    tags: tuple[str, ...] = _opt((), _strings)
    retries: int = _opt(0, _count, "max_retries")
    retry_delay_seconds: Delay = _opt(0.0, _delay, "retry_delay")
    retry_jitter_factor: float = _opt(0.0, _jitter)
    retry_condition_fn: Callable[..., Any] | None = _opt(None, _function)
    retry_on: tuple[type[BaseException], ...] = _opt((), _exceptions)
    timeout_seconds: float | None = _opt(None, _timeout, "timeout")
    persist_result: bool | None = _opt(None, _maybe_flag, "checkpoint")
    log_prints: bool | None = _opt(None, _maybe_flag, "log_stdout")
    on_running: tuple[Callable[..., Any], ...] = _opt((), _functions)
    on_completion: tuple[Callable[..., Any], ...] = _opt((), _functions)
    on_failure: tuple[Callable[..., Any], ...] = _opt((), _functions)
    on_cancellation: tuple[Callable[..., Any], ...] = _opt((), _functions)
    on_crashed: tuple[Callable[..., Any], ...] = _opt((), _functions)
    on_retry: tuple[Callable[..., Any], ...] = _opt((), _functions)
    state_handlers: tuple[Callable[..., Any], ...] = _opt((), _functions)
    concurrency_limit: int | None = _opt(None, lambda v: None if v is None else _positive(v))


@dataclass(frozen=True, slots=True)
class TaskOptions(RunOptions):
    """Options of `@task`."""

    task_run_name: str | Callable[..., str] | None = _opt(None, _template)
    crash_retries: int = _opt(3, _count)
    cache_policy: Any = _opt(None, _cache_policy)
    cache_key_fn: Callable[..., Any] | None = _opt(None, _function)
    cache_expiration: float | None = _opt(None, _expiration, "cache_expiration_seconds", "cache_for")
    refresh_cache: bool = _opt(False, _flag)
    trigger: Callable[..., Any] | None = _opt(None, _function)
    cpus: float | None = _opt(None, _amount)
    gpus: float | None = _opt(None, _amount)
    memory: int | None = _opt(None, parse_bytes)
    resources: dict[str, float] = _opt_dict(_amounts)
    priority: int = _opt(0, _whole)
    async_concurrency: int = _opt(32, _positive)
    chunk: int | str = _opt(*_MEASURED)
    window: int | str = _opt(*_MEASURED)
    keep: str = _opt(*_KEPT)

    def of_maps(self) -> MapOptions:
        """What its maps have where they are told nothing else."""
        return MapOptions(self.chunk, self.window, self.keep)

    @property
    def hooked(self) -> bool:
        """Whether anything of the user's runs at a transition on the worker."""
        return bool(
            self.on_running or self.on_completion or self.on_failure or self.on_retry or self.state_handlers
        )

    @property
    def watched(self) -> bool:
        """Whether some function of the user's is given the Task, or its run."""
        policies = getattr(self.cache_policy, "policies", (self.cache_policy,))
        keyed = self.cache_key_fn or any(getattr(policy, "cache_key_fn", None) for policy in policies)
        return bool(self.hooked or self.on_crashed or self.on_cancellation or self.retry_condition_fn or keyed)

    @property
    def cached(self) -> bool:
        policy = self.cache_policy is not None and getattr(self.cache_policy, "caches", True)
        return policy or self.cache_key_fn is not None

    def needs(self) -> dict[str, float]:
        """Resources of one item; empty when it needs one slot and nothing else."""
        wanted = dict(self.resources)
        for name, amount in (("cpus", self.cpus), ("gpus", self.gpus), ("memory", self.memory)):
            if amount is not None:
                wanted[name] = float(amount)
        return wanted


@dataclass(frozen=True, slots=True)
class FlowOptions(RunOptions):
    """Options of `@flow`."""

    flow_run_name: str | Callable[..., str] | None = _opt(None, _template)
    runner: Any = _opt(None, _as_is, "task_runner", "executor")
    validate_parameters: bool = _opt(True, _flag)
    on_exit: str = _opt("wait", _one_of("wait", "cancel"))
    strict: bool = _opt(False, _flag)
    resumable: bool | None = _opt(None, _maybe_flag)
    run_key: str | None = _opt(None, _text)


@dataclass(frozen=True, slots=True)
class MapOptions:
    """Options of one `map` call, given to it as keywords beside the task's arguments; else those of its task."""

    chunk: int | str = _opt(*_MEASURED)
    window: int | str = _opt(*_MEASURED)
    keep: str = _opt(*_KEPT)


MAP_OPTION_NAMES = frozenset(f.name for f in fields(MapOptions))


def make(kind: type[O], where: str, given: Mapping[str, Any], base: O | None = None) -> O:
    """Options of `kind` from keywords, laid over `base`.

    Args:
        where: who is being defined, for messages: ``@task 'load'``.
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


def _unknown(where: str, word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(sorted(known))}"
    return f"{where}: unknown option {word!r}{hint}"


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Delays of `backoff_factor` x 1, 2, 4, ... seconds, for `retry_delay_seconds`.

    Raises:
        ValueError: a negative factor.
    """
    if backoff_factor < 0:
        raise ValueError(f"backoff_factor cannot be {backoff_factor}: seconds count from 0")

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**n for n in range(retries)]

    return delays
