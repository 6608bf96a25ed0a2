"""What the driver knows of its pilots: when the queue is asked, what is told, and which are asked for anew."""

from __future__ import annotations

from itertools import pairwise

from anabranch.core.launching import Phase, Sight
from anabranch.launch.pilots import FIRST_LOOK, GATHER_SECONDS, LATEST_LOOK, MISSES, REFUSALS, Crew

WAITS, RUNS = Sight(Phase.PENDING, "Resources"), Sight(Phase.RUNNING)
NOT_FOUND = Sight(Phase.ENDED, "exit 127: the command was not found", 127, ("no such file",))
DONE = Sight(Phase.ENDED, "", 0)
CANCELLED = Sight(Phase.ENDED, "CANCELLED: it was cancelled")


def joined(*numbers: int, of: int = 3) -> Crew:
    crew = Crew(range(1, of + 1), 0.0)
    for number in numbers:
        crew.joined(number)
    return crew


def test_the_queue_is_not_asked_while_all_are_there() -> None:
    crew = joined(1, 2, 3)
    assert crew.here == 3
    assert crew.due() is None
    assert not crew.looks(1e9)


def test_the_queue_is_asked_ever_more_rarely_while_some_wait() -> None:
    crew, now, waits = joined(1), 0.0, []
    for _ in range(6):
        due = crew.due()
        assert due is not None
        waits.append(due - now)
        now = due
        assert crew.looks(now)
        assert crew.looked({2: WAITS, 3: RUNS}, now) == []
    assert waits == [FIRST_LOOK, 30.0, 60.0, 120.0, LATEST_LOOK, LATEST_LOOK]
    crew.unanswered(now)
    assert crew.due() == now + LATEST_LOOK


def test_one_that_ended_before_it_joined_is_told_once_and_not_asked_for_anew() -> None:
    crew = joined(1, 3)
    assert crew.looked({1: RUNS, 2: NOT_FOUND, 3: RUNS}, 30.0) == [
        "pilot 2 has ended: exit 127: the command was not found, last lines: no such file"
    ]
    assert crew.due() is None
    assert crew.asks(1e9) == []


def test_one_that_gave_up_before_there_was_a_driver_is_asked_for_anew() -> None:
    crew = joined(1)
    assert crew.looked({2: DONE}, 30.0) == []  # Slurm has forgotten the third
    assert crew.asks(30.0) == [2, 3]
    assert crew.due() == 30.0 + FIRST_LOOK
    crew.joined(2)
    crew.joined(3)
    assert crew.here == 3


def test_those_whose_time_is_over_are_asked_for_anew_by_one_request() -> None:
    crew = joined(1, 2, 3)
    crew.left(2, 100.0, again=True)
    crew.left(1, 120.0, again=True)
    assert crew.here == 1
    assert crew.due() == 100.0 + GATHER_SECONDS
    assert crew.asks(129.0) == []
    assert crew.asks(130.0) == [1, 2]
    assert crew.asks(1e9) == []


def test_of_one_that_is_lost_the_queue_is_asked_what_became_of_it() -> None:
    crew = joined(1, 2, 3)
    crew.left(2, 100.0, again=False)
    crew.left(2, 101.0, again=False)  # told twice
    assert crew.due() == 100.0 + FIRST_LOOK
    assert crew.looked({2: CANCELLED}, 130.0) == ["pilot 2 has ended: CANCELLED: it was cancelled"]
    assert crew.due() is None


def test_one_that_had_no_time_for_a_chunk_is_told_and_not_asked_for_anew() -> None:
    """It ends with exit code 0, as one that found no driver does; another such one would end in the same way."""
    crew = joined(1, 2, 3)
    for number in (1, 2):
        crew.left(number, 0.0, again=False, why="its walltime is too short")
    assert crew.looked({1: DONE, 3: RUNS}, 30.0) == []
    assert crew.asks(30.0) == [1, 2]  # once: it may have had bad luck
    for number in (1, 2):
        crew.joined(number)
        crew.left(number, 100.0, again=False, why="its walltime is too short")
    assert crew.looked({1: DONE, 3: RUNS}, 130.0) == [  # Slurm has forgotten the second
        f"pilot {number} has ended: its walltime is too short; no other one takes its place" for number in (1, 2)
    ]
    assert crew.asks(1e9) == []
    assert crew.due() is None


def test_one_that_is_lost_and_finds_no_driver_any_more_is_asked_for_anew() -> None:
    crew = joined(1, 2, 3)
    crew.left(2, 100.0, again=False)
    assert crew.looked({2: DONE}, 130.0) == []
    assert crew.asks(130.0) == [2]


def missed(crew: Crew, until: int) -> tuple[int, list[str]]:
    """Let the jobs of the second pilot end without a word to the driver; how many were asked for, and what was told."""
    asked, told = 0, []
    while not told and asked < until:
        due = crew.due()
        assert due is not None
        told += crew.looked({1: RUNS, 2: DONE, 3: RUNS}, due)
        asked += len(crew.asks(due))
    return asked, told


def test_one_whose_jobs_never_reach_the_driver_is_given_up() -> None:
    crew = joined(1, 3)
    asked, told = missed(crew, 100)
    assert asked == MISSES - 1
    assert told == [
        "pilot 2 has ended: 5 jobs in a row have not reached the driver, and no other one takes its place: "
        "see their logs, and whether nodes may open connections to this one"
    ]
    assert crew.due() is None


def test_one_that_joins_between_may_miss_the_driver_as_often_again() -> None:
    crew = joined(1, 3)
    assert missed(crew, MISSES - 1) == (MISSES - 1, [])
    crew.joined(2)
    crew.left(2, 5000.0, again=True)
    assert crew.asks(5000.0 + GATHER_SECONDS) == [2]
    assert missed(crew, 100)[0] == MISSES - 1


def test_one_that_was_let_go_and_came_again_may_be_asked_for_anew() -> None:
    """Slurm has started its job again: why it left before is past."""
    crew = joined(1, 2, 3)
    crew.left(2, 100.0, again=False, why="its job is being ended")
    crew.joined(2)
    crew.left(2, 200.0, again=False)
    assert crew.looked({2: DONE}, 230.0) == []
    assert crew.asks(230.0) == [2]


def refused(crew: Crew, seconds: float, seen: dict[int, Sight]) -> tuple[list[float], list[float], list[str]]:
    """Let the queue refuse every request for so long; returns when it was asked, and for what; what was told."""
    looks, asks, told = [], [], []
    while (due := crew.due()) is not None and due <= seconds:
        if crew.looks(due):
            looks.append(due)
            told += crew.looked(seen, due)
        if numbers := crew.asks(due):
            asks.append(due)
            told.append(crew.refused(numbers, "the limit is reached", due))
    return looks, asks, [text for text in told if text]


def test_a_refused_request_is_repeated_ever_more_rarely_and_told_once() -> None:
    crew = joined(1, 2, 3)
    crew.left(1, 0.0, again=True)
    looks, asks, told = refused(crew, 600.0, {1: CANCELLED, 2: RUNS, 3: RUNS})
    assert asks == [30.0, 60.0, 120.0, 240.0, 480.0]
    assert looks == asks[1:]
    assert told == [
        "no other pilots take the place of 1 so far: the limit is reached. They are asked for again, ever more rarely"
    ]


def test_others_that_leave_are_asked_for_together_with_the_refused_ones() -> None:
    crew = joined(1, 2, 3)
    crew.left(1, 0.0, again=True)
    refused(crew, 239.0, {})  # the next request: at 240 s
    crew.left(2, 130.0, again=True)
    crew.left(3, 131.0, again=False)
    assert not crew.looks(160.0)
    assert crew.looked({3: CANCELLED}, 161.0) == ["pilot 3 has ended: CANCELLED: it was cancelled"]
    assert crew.asks(239.0) == []
    assert crew.asks(240.0) == [1, 2]
    crew.taken()
    crew.joined(1)
    crew.left(1, 300.0, again=True)
    assert crew.asks(330.0) == [1]


def test_refusals_make_the_questions_for_pilots_that_wait_neither_more_nor_later() -> None:
    crew = joined(1, of=3)
    for moment in (30.0, 60.0, 120.0, 240.0):
        crew.looked({1: RUNS, 2: WAITS, 3: WAITS}, moment)
    crew.left(1, 241.0, again=True)
    looks, asks, _ = refused(crew, 1900.0, {2: WAITS, 3: WAITS})
    assert asks[0] == 271.0
    assert looks[0] == 301.0
    waits = [later - moment for moment, later in pairwise(looks)]
    assert max(waits) == LATEST_LOOK
    assert len(looks) <= 11


def test_after_some_refusals_no_more_is_asked_for() -> None:
    crew = joined(1, 2, 3)
    crew.left(1, 0.0, again=True)
    looks, asks, told = refused(crew, 1e9, {})
    assert (len(looks), len(asks)) == (REFUSALS - 1, REFUSALS)
    assert told[1:] == [
        "no other pilots take the place of 1 any more: 10 requests were refused, the last with: the limit is reached"
    ]
    crew.left(2, 1e9, again=True)  # later there may be room again
    assert crew.asks(1e9 + GATHER_SECONDS) == [2]


def test_one_that_was_taken_without_an_answer_is_not_asked_for_twice() -> None:
    crew = joined(1, 2, 3)
    crew.left(1, 0.0, again=True)
    crew.refused(crew.asks(30.0), "no answer", 30.0)
    assert crew.looks(60.0)
    assert crew.looked({1: WAITS}, 60.0) == []
    assert crew.asks(1e9) == []
    crew.joined(1)
    assert crew.due() is None


def test_one_that_slurm_starts_again_is_waited_for() -> None:
    crew = joined(1, 2, 3)
    crew.left(3, 100.0, again=False)
    assert crew.looked({3: WAITS._replace(restarts=1)}, 130.0) == []
    crew.joined(3)
    assert crew.due() is None
    assert crew.here == 3


def test_a_later_start_of_the_driver_asks_at_once_for_what_is_missing() -> None:
    crew = Crew(range(1, 5), 10.0, there=True)
    assert crew.looks(10.0)
    assert crew.looked({1: RUNS, 2: WAITS, 3: NOT_FOUND}, 10.0) == []
    assert crew.asks(10.0) == [3, 4]
