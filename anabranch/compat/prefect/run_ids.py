"""Ids of runs as UUIDs: a flow run's own id is one, a task run's is made of its map's and its place."""

from __future__ import annotations

import functools
import uuid

_SPACE = uuid.UUID("5f9f35c2-6d0c-4a8e-9a36-6b0b2d1c7a11")


@functools.lru_cache(4096)
def id_of(run_id: str) -> uuid.UUID:
    """Return the UUID of a run; the same one for the same run, in every process."""
    try:
        return uuid.UUID(run_id)
    except ValueError:
        return uuid.uuid5(_SPACE, run_id)
