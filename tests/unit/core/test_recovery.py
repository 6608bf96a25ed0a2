"""Whether a driver is dead, and whether its order is ordered again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.core.launching import Phase
from anabranch.core.recovery import (
    BACK_OFF,
    LONGEST_SILENCE,
    RECOVER_LIMIT,
    SILENCE,
    Again,
    Alive,
    Facts,
    Over,
    death,
    recover,
)

PHASES = st.sampled_from(["", *(phase.value for phase in Phase)])
FACTS = st.builds(
    Facts,
    now=st.floats(1000, 3000), begun=st.floats(0, 1000), seen=st.sampled_from([0.0, 1000.0, 1500.0, 2900.0]),
    phase=PHASES, reason=st.sampled_from(["", "OOMKilled", "its node is gone"]),
    code=st.sampled_from([None, 0, 1, -9]), suspended=st.booleans(), buried=st.sampled_from(["", "its pid is gone"]),
    recover=st.sampled_from(["resume", "restart", "no"]), recoveries=st.integers(0, 5),
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "dead"),
    [
        (Facts(now=159, begun=0, seen=100), False),
        (Facts(now=161, begun=0, seen=100), True),
        (Facts(now=59, begun=0), False),
        (Facts(now=61, begun=0), True),  # never a beat: it counts from begin
        (Facts(now=61, begun=0, phase="running"), False),
        (Facts(now=601, begun=0, phase="running"), True),
        (Facts(now=61, begun=0, phase="pending"), True),
        (Facts(now=1, begun=0, seen=1, phase="ended", code=1), True),
        (Facts(now=1, begun=0, seen=1, phase="ended"), True),
        (Facts(now=1, begun=0, seen=1, phase="gone"), True),
        (Facts(now=1, begun=0, seen=1, phase="unknown"), False),
        (Facts(now=62, begun=0, seen=1, phase="unknown"), True),
        (Facts(now=62, begun=0, seen=1, phase="running"), False),
        (Facts(now=700, begun=0, seen=1, heard_since=640), False),
        (Facts(now=1, begun=0, seen=1, phase="ended", code=0), False),  # its last rows may be under way
        (Facts(now=62, begun=0, seen=1, phase="ended", code=0), True),
        (Facts(now=1, begun=0, seen=1, buried="its process 7 is gone"), True),
    ],
)
def test_evidence_counts_at_once_and_silence_after_a_while(facts: Facts, dead: bool) -> None:
    assert bool(death(facts)) is dead
    assert isinstance(recover(facts), Alive) is not dead


def test_the_reason_is_that_of_the_kind() -> None:
    gone = Facts(
        now=1, begun=0, phase="ended", reason="it needed more memory than its limit of 1Gi (OOMKilled)", code=137
    )
    assert death(gone) == "its job ended: it needed more memory than its limit of 1Gi (OOMKilled)"
    silent = Facts(now=100, begun=10)
    assert death(silent) == "its driver is silent: 90 s since it began, without any sign of life"
    assert "last sign of life" in death(replace(silent, seen=20.0))


def test_three_recoveries_with_growing_pauses_and_then_it_is_given_up() -> None:
    facts = Facts(now=500, begun=0, phase="gone", reason="its node went away")
    pauses = []
    for recoveries in range(RECOVER_LIMIT):
        again = recover(replace(facts, recoveries=recoveries))
        assert isinstance(again, Again)
        assert again.counts
        pauses.append(again.due - facts.now)
    assert pauses == [BACK_OFF, 2 * BACK_OFF, 4 * BACK_OFF]
    over = recover(replace(facts, recoveries=RECOVER_LIMIT))
    assert over == Over("gave up after 3 recoveries: its job is gone: its node went away")


@pytest.mark.parametrize("words", ["OOMKilled", "ran out of memory", "it used more memory than it asked for"])
def test_want_of_memory_is_recovered_once(words: str) -> None:
    facts = Facts(now=500, begun=0, phase="ended", reason=words, code=137)
    assert isinstance(recover(facts), Again)
    over = recover(replace(facts, recoveries=1))
    assert isinstance(over, Over)
    assert words in over.reason


def test_no_means_no() -> None:
    facts = Facts(now=500, begun=0, phase="gone", recover="no")
    assert recover(facts) == Over("its job is gone")
    assert isinstance(recover(replace(facts, suspended=True)), Over)


@given(FACTS)
def test_any_facts(facts: Facts) -> None:
    found = recover(facts)
    if facts.suspended and facts.recover != "no":
        assert found == Again(facts.now, "it goes on after its walltime was over", counts=False)
        return
    if isinstance(found, Alive):
        assert facts.now - max(facts.seen, facts.begun) <= (LONGEST_SILENCE if facts.phase == "running" else SILENCE)
        assert not facts.buried
        assert facts.phase != "gone"
    elif isinstance(found, Again):
        assert facts.recover != "no"
        assert facts.recoveries < RECOVER_LIMIT
        assert found.due > facts.now
        assert found.reason
    else:
        assert found.reason


@given(st.lists(FACTS, max_size=30))
def test_no_order_is_recovered_more_often_than_the_limit_says(deaths: list[Facts]) -> None:
    recoveries = 0
    for facts in deaths:
        found = recover(replace(facts, recoveries=recoveries, suspended=False))
        if isinstance(found, Over):
            break
        recoveries += isinstance(found, Again)
    assert recoveries <= RECOVER_LIMIT
