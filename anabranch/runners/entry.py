"""The worker's half of a runner, reached only through a reference: runners never import it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Chunk, WorkerPort

    RunChunk = Callable[[Chunk, WorkerPort], None]

WORKER = "anabranch.worker.run:run_chunk"


def resolve(entry: str | RunChunk | None) -> RunChunk:
    """The function that runs a chunk: given as itself, as ``module:name``, or None for `WORKER`.

    Raises:
        RunnerError: the text names nothing that can be called.
    """
    if callable(entry):
        return entry
    module, _, name = (entry or WORKER).partition(":")
    try:
        found: RunChunk = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RunnerError(f"cannot load the worker's entry point {entry or WORKER!r}: {error}") from error
    return found
