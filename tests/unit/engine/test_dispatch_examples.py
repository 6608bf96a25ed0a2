"""Examples that the stateful test of the dispatcher has found, each as the steps to which it was made short."""

from __future__ import annotations

from typing import Any

from tests.unit.engine.test_dispatch_stateful import Dispatching


def test_a_block_without_a_value_of_its_item_goes_with_the_readers_of_that_value() -> None:
    """A retry leaves the block of a chain without its last value; the next attempt makes it for its reader alone."""
    _play(
        ("begin", {"held": True, "resumable": True, "budget": None, "retries": 1, "walltime": None, "slots": 2,
                   "stops": True}),
        ("submit_chains", _chains(alone=True, beyond=False, by_level=True, depth=1, heads=2)),
        ("report", {"pick": 0, "count": 2, "fates": ["later", "fail"], "final": False}),
        ("time_out", {"pick": 803}),
        ("submit_chains", _chains(alone=True, beyond=False, by_level=False, depth=2, heads=2)),
        ("submit_chains", _chains(alone=False, beyond=True, by_level=False, depth=3, heads=3)),
        ("time_out", {"pick": 178}),
        ("drop_a_handle", {"pick": 11668}),
        ("report", {"pick": 729, "count": 1, "fates": ["retry"], "final": False}),
        *(("drop_a_handle", {"pick": pick}) for pick in (3129, 19346, 1867, 23115)),
    )  # fmt: skip


def _chains(**given: Any) -> dict[str, Any]:
    return {"last": 2, **given}


def _play(*steps: tuple[str, dict[str, Any]]) -> None:
    """Take the steps one after another, and let everything end: then nothing may be left."""
    state = Dispatching()
    for name, given in steps:
        getattr(state, name)(**given)
        state.consistent()
    state.end()
