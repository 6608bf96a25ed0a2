"""What a worker was told of its chunks: limits only shrink, cancels only grow, old notes go."""

from __future__ import annotations

from anabranch.runners.placing.port_state import PortState


def test_limits_only_shrink() -> None:
    state = PortState()
    assert state.limit(1) is None
    for keep, limit in [(5, 5), (7, 5), (3, 3)]:
        state.shorten(1, keep)
        assert state.limit(1) == limit
    assert state.limit(2) is None


def test_cancels_add_up_to_all() -> None:
    state = PortState()
    assert not state.cancelled(1, 0)
    state.cancel(1, (0, 1))
    state.cancel(1, {3})
    assert [state.cancelled(1, position) for position in range(5)] == [True, True, False, True, False]
    state.cancel(1, None)
    state.cancel(1, (0,))
    assert state.cancelled(1, 99)
    assert not state.cancelled(2, 0)


def test_notes_go_with_their_chunk_and_the_oldest_of_too_many() -> None:
    state = PortState(kept=3)
    for chunk in range(5):
        state.shorten(chunk, 0)
        state.cancel(chunk, None)
    assert [state.limit(chunk) for chunk in range(5)] == [None, None, 0, 0, 0]
    assert [state.cancelled(chunk, 0) for chunk in range(5)] == [False, False, True, True, True]
    state.forget(4)
    state.forget(4)
    assert state.limit(4) is None
    assert not state.cancelled(4, 0)
