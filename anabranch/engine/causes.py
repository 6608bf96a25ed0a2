"""Reasons for the record: of an end, or of another attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core import reasons, states
from anabranch.core.asking import name_of
from anabranch.core.policies import FlowParametersPolicy, InputsPolicy, RunIdPolicy, TaskSourcePolicy
from anabranch.core.reasons import Reason, make
from anabranch.engine import triggers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun, Upstream
    from anabranch.core.options import TaskOptions
    from anabranch.core.reports import ErrorInfo

_CANCELLED_BY = {word: make(word) for word in reasons.ENDED if word.startswith("cancelled/")}
_PARTS = {TaskSourcePolicy: "task source", RunIdPolicy: "run id", FlowParametersPolicy: "flow parameters"}


def of_end(
    map: MapRun, index: int, code: int, error: ErrorInfo | None, word: str = "", cache_key: str = ""
) -> Reason:
    """Return the reason of an attempt's end.

    Args:
        code: its state, AWAITING_RETRY where another attempt follows.
        word: the reported word, where code and error do not imply one.
    """
    if code == states.COMPLETED:
        return reasons.NONE
    if code == states.CACHED:
        return make("cache-hit", parts=key_parts(map.options), key=cache_key)
    if code == states.CANCELLED:
        return of_cancel("user")
    if code == states.CRASHED:
        return make(word or "exit")
    if code == states.TRIGGER_FAILED and map.inputs.causes.get(index):  # a submitted flow, whose thread reports it
        return upstream(*map.inputs.causes[index][0])
    if not word:
        word = "timeout" if code == states.TIMED_OUT else "budget/user"
        if error is not None and error.type_name == "SerializationError":
            word = "unserializable"
    return make(word, **_budget(map.options, map.counted(index), code, word))


def _budget(options: TaskOptions, attempt: int, code: int, word: str) -> dict[str, Any]:
    """Return how many of the user's retries are spent after this attempt, and the option that refused another."""
    again = code == states.AWAITING_RETRY
    found: dict[str, Any] = {"spent": min(attempt if again else attempt - 1, options.retries), "of": options.retries}
    if word == "timeout":
        found["seconds"] = options.timeout_seconds
    if not again and attempt <= options.retries:
        found["refused"] = "retry_on" if options.retry_condition_fn is None else "retry_condition_fn"
    return found


def of_cancel(by: str) -> Reason:
    """Return the reason of a cancel; `by` is a word behind "cancelled/"."""
    return _CANCELLED_BY[f"cancelled/{by}"]


def of_crash(map: MapRun, index: int, reason: str, *, final: bool) -> Reason:
    """Return the reason of an attempt that ended with its worker: one crash retry is spent, or all are."""
    crashes, allowed = map.budgets.crashes.get(index, 0), max(1, map.options.crash_retries)
    if final and crashes > 1:
        return make("poison", cause=reason, spent=crashes)
    if reason not in ("worker-lost", "out-of-memory", "engine-lost"):
        reason = "worker-lost"
    return make(f"budget/{reason}", spent=crashes, of=allowed)


def of_refusal(map: MapRun, upstreams: Sequence[Upstream], at: int | None = None) -> Reason:
    """Return the reason of a run that was not admitted: the upstream and its end, or the trigger."""
    bad = triggers.culprits(upstreams, at)
    trigger = map.options.trigger
    if trigger is not None:
        ended = list(dict.fromkeys(states.NAMES[up.codes[i]][0] for up, i in bad)) or ["Completed"]
        return make("trigger", trigger=name_of(trigger), states=ended)
    if not bad:
        return make("upstream")
    up, index = bad[0]
    return upstream(up, index)


def upstream(up: MapRun, index: int | None) -> Reason:
    """Return the reason for a run that waits for this run or map, or did not start because of it."""
    if index is None:
        left = len(up.codes) - up.done
        state = f"not at its end, {left} of {len(up.codes)} items to go"
        return make("upstream", upstream=up.spec.name, task=up.spec.name, map=up.id, state=state)
    name = up.state(index).name
    who = f"{up.spec.name}[{index}]"
    return make("upstream", upstream=who, task=up.spec.name, index=index, map=up.id, state=name)


def key_parts(options: TaskOptions) -> list[str]:
    """Return the names of the parts of a task's cache keys."""
    if options.cache_key_fn is not None:
        return [f"what cache_key_fn {name_of(options.cache_key_fn)} answers".replace("  ", " ")]
    policy = options.cache_policy
    parts = getattr(policy, "policies", (policy,))
    return [_part(part) for part in parts]


def _part(policy: Any) -> str:
    if isinstance(policy, InputsPolicy):
        left_out = ", ".join(policy.exclude)
        return f"inputs without {left_out}" if left_out else "inputs"
    return _PARTS.get(type(policy)) or repr(policy)
