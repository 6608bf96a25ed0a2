"""Why a task run waits, was skipped, cached, retried or ended early: code words, details and a sentence for each.

    budget/worker-lost   {"spent": 1, "of": 3}   ->  "its worker was lost at attempt 1; 1 of 3 crash retries is spent"

Programs read the word; the part behind its slash names the budget, or the canceller. Words are stored in records:
never change the meaning of one. Details are JSON, so that reading a record never unpickles.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

# Words for the end of an attempt, or for one that did not begin.
ENDED: dict[str, str] = {
    "upstream": "it did not start, because {upstream} ended {state}",
    "trigger": "it did not start: {message}",
    "cache-hit": "its value was in the cache, under a key made of {parts}: {key}",
    "budget/user": "attempt {attempt} ended with {error}; {retries}",
    "budget/worker-lost": "its worker was lost at attempt {attempt}; {retries}",
    "budget/out-of-memory": "its worker ran out of memory at attempt {attempt}; {retries}",
    "budget/value-lost": "its value was lost with a worker after attempt {attempt}; {remade}",
    "budget/engine-lost": "its runner was lost: {message}",
    "poison": "its worker died {spent} times while it ran ({cause}), so it is not tried again",
    "timeout": "attempt {attempt} ran past its time limit of {seconds} s; {retries}",
    "unserializable": "it cannot travel: {message}",
    "result-store": "its value could not be stored at attempt {attempt}: {message}; {retries}",
    "arguments": "what it reads could not be had: {message}",
    "capacity": "no worker with {resources} came within {seconds} s",
    "exit": "its code ended the worker it ran on: {message}",
    "cancelled/user": "it was cancelled by the program (`cancel()`)",
    "cancelled/request": (
        "its flow run was cancelled from elsewhere (`anabranch run cancel`, `cancel()` of its future, a flow around it)"
    ),
    "cancelled/flow-end": "its flow ended, and what had not ended was cancelled with it",
    "cancelled/flow-timeout": "its flow ran past its time limit",
    "cancelled/ctrl-c": "its program was interrupted by Ctrl-C",
    "cancelled/sigterm": "its program got a termination signal (SIGTERM)",
    "cancelled/walltime": "its program was told that its walltime was near, or knew it",
    "walltime/interrupted": "it had run for {ran} s of a walltime of {walltime} s when that ended",
    "walltime/too-short": "it did not start: {message}",
    "cancelled/parent": "the task run that had submitted it ended, or was done again",
    "unrecorded": "the record tells that it ended as {state}, not why",
    "driver-lost": "it had not ended when the process that drove its run was last heard of",
}

# Words for a run that waits; `upstream` and `cache-hit` have other sentences here.
WAITING: dict[str, str] = {
    "upstream": "it waits for {upstream}, which is {state}",
    "limit/shared": "it waits for a slot of the limit {limit}, which programs share: this one has {places} now",
    "limit": "it waits for a place under the limit {limit}: {used} of {places} are taken",
    "resources": "it waits for a worker with {resources}",
    "slots": "it waits for a free slot of the {runner} runner: {busy} chunks are under way on {slots} slots",
    "reader": "the reader of its map's results is behind: {ahead} items are ahead of it",
    "spill": "it waits while values are moved from memory to disk",
    "input": "it was not taken from the map's iterator yet",
    "arguments": "the arguments that all items of its map share are being fetched",
    "cache-lock": "another run computes the value of its cache key",
    "walltime": "it takes up to {takes} s and the walltime leaves {left} s: it begins in the next allocation",
    "halted": "its flow run was told to end, and begins nothing more",
    "handlers": "state handlers or a retry condition are being asked",
    "running": "it waits for nothing: it is with a worker",
    "driver": "it has not ended; what it waits for is known to the process that drives it ({driver})",
}
HAPPY = "it completed at its first attempt"


class Reason(NamedTuple):
    """A code word and its details as JSON text, made once for all items that share it."""

    word: str = ""
    details: str = ""


NONE = Reason()


def make(word: str, **details: Any) -> Reason:
    """Make a reason; `word` is one of `ENDED` or `WAITING`."""
    return Reason(word, json.dumps(details, ensure_ascii=False, default=str) if details else "")


def details_of(text: str) -> dict[str, Any]:
    """Return the details from JSON text; {} for text that is not JSON."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class _Known(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "?"


def sentence(word: str, details: dict[str, Any], *, waits: bool = False, **told: Any) -> str:
    """Return the sentence of a word for one run.

    Args:
        details: the recorded details.
        waits: the run has not ended.
        told: more of the run's record: attempt, error, message, state.
    """
    if not word:
        return HAPPY
    template = (WAITING if waits else ENDED).get(word) or ENDED.get(word) or WAITING.get(word)
    if template is None:
        return str(told.get("message") or word)
    known = _Known({name: value for name, value in told.items() if value not in ("", None)})
    known.update(details)
    for name, value in details.items():
        if isinstance(value, list):
            known[name] = ", ".join(map(str, value))
    known["retries"] = _budget(word, details)
    known["remade"] = "what it was made of is gone too" if details.get("final") else "it ran again"
    return template.format_map(known)


def _budget(word: str, details: dict[str, Any]) -> str:
    spent, of = details.get("spent", 0), details.get("of", 0)
    kind = "crash retries" if word in ("budget/worker-lost", "budget/out-of-memory") else "retries"
    if not of:
        return f"it has no {kind}"
    counted = f"{spent} of {of} {kind} {'is' if spent == 1 else 'are'} spent"
    refused = details.get("refused")
    return f"{refused} allowed no other attempt, {counted}" if refused else counted
