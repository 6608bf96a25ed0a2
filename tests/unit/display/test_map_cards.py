"""Future lists and states as the last line of a cell: counts, a strip, failures in groups; a million items too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from anabranch import Future, FutureList
from anabranch.core.future_sets import FutureSet, Part
from anabranch.core.map_states import States
from anabranch.core.reports import ErrorInfo
from anabranch.core.states import (
    AWAITING_RETRY,
    CANCELLED,
    COMPLETED,
    CRASHED,
    FAILED,
    PENDING,
    TIMED_OUT,
)  # fmt: skip
from anabranch.core.waiting import DoneAndNotDone
from anabranch.display import cards, map_cards, progress, strips, summary
from tests.unit.display.shown import NASTY, a_map, read, shown
from tests.unit.display.untrusted import pictures, plain_text

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun

MANY = 1_000_000


# -- future lists --------------------------------------------------------------------------------


def test_a_future_list_tells_counts_time_and_bytes() -> None:
    map = a_map([COMPLETED] * 1700 + [CANCELLED] * 2)
    map.footprint.held, map.footprint.spilled, map.footprint.released = 12_400_000, 3_000, 500
    map.attempts[3] = 2
    html = shown(FutureList(map))
    assert plain_text(html) == (
        "load map of 1,702 items · done in 2.00 s · 851/s 1,700 completed 2 cancelled "
        "12.4 MB held · 3.0 kB spilled · 500 B released · 1 with more than one attempt"
    )
    assert pictures(html)[0][0] == "1,700 completed, 2 cancelled"
    assert pictures(html)[0][1].startswith("data:image/png;base64,")


def test_a_future_list_under_way_tells_its_rate_and_what_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    map = a_map([COMPLETED] * 50 + [AWAITING_RETRY] * 10 + [PENDING] * 140)
    map.header.ended_at = None
    map.queue.sent = 4
    map.queue.ready.append((64, 200, False))
    monkeypatch.setattr(cards.time, "time", lambda: 1_010.0)
    assert read(FutureList(map)) == (
        "load map of 200 items · 50 ended (25 %) · 5.0/s · ETA 0:30 50 completed 4 running "
        "146 waiting (10 AwaitingRetry)"
    )
    monkeypatch.setattr(progress, "live_rate", lambda map: 15.0)
    assert "15.0/s · ETA 0:10" in read(FutureList(map)), "the rate of the last seconds, where the bar has one"
    map.queue.short = "gpus=1"
    assert "waits for a worker with gpus=1" in read(FutureList(map))
    map.queue.short, map.queue.waits_under = "", "db"
    assert "waits for a slot of the limit 'db'" in read(FutureList(map))
    map.closed = False
    assert "map of an unsized input · 50 ended · 15.0/s 50 completed" in read(FutureList(map))


def test_the_rate_of_a_map_with_a_bar_is_that_of_the_bar() -> None:
    class Sink:
        def show(self, shown: Any, now: float) -> None: ...
        def end(self, which: Any, reading: Any) -> None: ...
        def close(self) -> None: ...

    map, times = a_map([PENDING] * 100), iter([0.0, 1.0, 2.0, 3.0])
    board = progress.Board(Sink(), lambda: next(times))
    board._thread = cast("Any", object())  # the rounds are made here
    board.add(map)
    for done in 0, 20, 40:
        map.done = done
        board.look()
    assert board.seen(map) is not None
    assert progress.live_rate(a_map([PENDING])) == 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_board", board)
        assert progress.live_rate(map) == pytest.approx(20.0)


def test_failures_are_groups_that_open_to_the_first_traceback() -> None:
    trace = "Traceback (most recent call last):\n  File \"a.py\", line 3, in load\nValueError: odd 3"
    errors = {f"_{i}": ErrorInfo("ValueError", f"odd {i}", trace.replace("3", str(i))) for i in range(3, 30)}
    errors["_7"] = ErrorInfo("KeyError", NASTY, f"Traceback\n{NASTY}")
    codes = [COMPLETED] * 3 + [FAILED] * 27 + [CRASHED, TIMED_OUT]
    map = a_map(codes, **errors)
    map.messages[30] = "worker lost"
    html = shown(FutureList(map))
    assert html.count("<details>") == 2
    assert NASTY not in html
    text = plain_text(html)
    assert "26 x ValueError: odd 3 (first at item 3) item 3, where it ran: Traceback" in text
    assert f"1 x KeyError: {NASTY} (item 7)" in text
    assert "1 x Crashed: worker lost (item 30)" in text
    assert "1 x TimedOut (item 31)" in text
    assert map.handled == set(), "to look at failures is not to handle them"


def test_more_kinds_of_failures_than_lines_are_counted() -> None:
    map = a_map([FAILED] * 40, **{f"_{i}": ErrorInfo(f"Error{chr(65 + i)}", "no", "") for i in range(40)})
    text = read(FutureList(map))
    assert text.count(" x Error") == map_cards.GROUPS
    assert text.endswith(f"and {40 - map_cards.GROUPS} more failed items")


def test_what_an_input_raised_is_told() -> None:
    map = a_map([COMPLETED] * 3)
    map.error = OSError(f"disk {NASTY}\nsecond line")
    text = read(FutureList(map))
    assert f"the input ended with OSError: disk {NASTY}" in text
    assert "second line" not in text


def test_a_list_tells_that_it_has_no_values() -> None:
    futures = FutureList(a_map([COMPLETED]))
    futures.release()
    assert read(futures) == "load map of 1 item · done in 2.00 s 1 completed its values were released"
    kept_none = a_map([COMPLETED])
    kept_none.keep = False
    assert read(FutureList(kept_none)).endswith("made without values")
    assert read(FutureList(a_map([]))) == "load map of 0 items · done in 2.00 s no items"


def test_the_text_of_a_list_stays_short() -> None:
    assert repr(FutureList(a_map([COMPLETED] * 1700))) == "<FutureList 'load': 1,700 Completed>"
    text = repr(FutureList(a_map([COMPLETED] * 4 + [CRASHED, FAILED])))
    assert text == "<FutureList 'load': 4 Completed, 1 Failed, 1 Crashed; the first that failed is 4>"
    assert repr(FutureList(a_map([]))) == "<FutureList 'load': empty>"


# -- a million items -----------------------------------------------------------------------------


def million() -> MapRun:
    """A map of which one item in twenty failed, in fifty ways, with long messages and tracebacks full of signs."""
    map = a_map(bytes(MANY).replace(b"\0", bytes([COMPLETED])))
    trace = NASTY * 5_000
    for index in range(0, MANY, 20):
        map.codes[index] = FAILED
        map.errors[index] = ErrorInfo(f"Error{index // 20 % 50}", f"{NASTY} {index}" * 50, trace)
    return map


def test_a_million_items_take_few_steps_and_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: items that are looked at one by one, and messages that are read."""
    map = million()

    class Watched(dict[int, ErrorInfo]):
        asked = 0

        def get(self, key: int, default: Any = None) -> Any:
            Watched.asked += 1
            return super().get(key, default)

    map.errors = Watched(map.errors)
    searched: list[int] = []

    changing = summary._CHANGING

    class Changing:
        def sub(self, by: str, text: str) -> str:
            searched.append(len(text))
            return changing.sub(by, text)

    monkeypatch.setattr(summary, "_CHANGING", Changing())
    futures = FutureList(map)
    html = shown(futures)
    assert Watched.asked <= map_cards.LOOKED_AT + map_cards.TRACED
    assert sum(searched) <= map_cards.KINDS * summary.READ
    assert "950,000 completed 50,000 failed" in plain_text(html)
    assert "at least" in plain_text(html)
    Watched.asked = 0
    states = shown(futures.states)
    assert Watched.asked <= map_cards.LOOKED_AT + map_cards.TRACED
    assert "950,000 completed 50,000 failed" in plain_text(states)
    assert len(repr(futures)) < 120
    assert len(repr(futures.states)) < 120


def test_items_that_did_not_fail_are_not_looked_at() -> None:
    codes = bytearray([COMPLETED]) * MANY
    codes[7] = codes[MANY - 1] = FAILED

    class Watched(bytearray):
        asked = 0

        def find(self, *given: Any) -> int:
            Watched.asked += 1
            return super().find(*given)

        def translate(self, table: Any, /, delete: Any = b"") -> Any:
            return Watched(bytearray(self).translate(table))

    assert list(summary.failing(Watched(codes))) == [7, MANY - 1]
    assert Watched.asked == 3


# -- states --------------------------------------------------------------------------------------


def test_states_tell_counts_and_failures() -> None:
    map = a_map([COMPLETED, FAILED, COMPLETED], _1=ErrorInfo("ValueError", "odd 1", "Traceback\nodd 1"))
    futures = FutureList(map)
    states = futures.states
    assert read(states).startswith("load 3 states 2 completed 1 failed 1 x ValueError: odd 1 (item 1)")
    assert "(item 1)" in read(states[1:])
    assert read(states[::-1][:2]).startswith("load 2 states 1 completed 1 failed")
    assert read(states[:1]) == "load 1 state 1 completed"
    assert read(states[0:0]) == read(states[0:0][::-1]) == "load 0 states no items"
    assert isinstance(states[::2], States)
    assert map.handled == set()


@pytest.mark.parametrize("part", [slice(None), slice(1, None), slice(None, None, -1), slice(7, 2, -2), slice(3, 3)])
def test_states_of_a_part_have_the_codes_of_its_items(part: slice) -> None:
    codes = [COMPLETED, FAILED, PENDING, CRASHED, CANCELLED, COMPLETED, TIMED_OUT, COMPLETED]
    states = FutureList(a_map(codes)).states
    assert list(states[part]._codes()) == codes[part]
    assert list(states[part][::-1]._codes()) == codes[part][::-1]


def test_swatches_stand_beside_words() -> None:
    html = shown(FutureList(a_map([COMPLETED, FAILED, CANCELLED])))
    kinds = [strips.DONE, strips.TAKEN_BACK, strips.BROKEN]
    assert [src for alt, src in pictures(html) if not alt] == [strips.data_uri(strips.swatch(kind)) for kind in kinds]


# -- what `wait` gives ---------------------------------------------------------------------------


def test_sets_of_futures_tell_counts_and_failures() -> None:
    map = a_map([COMPLETED, FAILED, COMPLETED, PENDING], _1=ErrorInfo("ValueError", "odd 1", "Traceback\nodd 1"))
    futures, other = FutureList(map), Future(a_map([COMPLETED]), 0)
    done = FutureSet([Part(futures, bytearray([1, 1, 1, 0]))], [other])
    rest = FutureSet([Part(futures, bytearray([0, 0, 0, 1]))])
    assert read(done).startswith("load 3 in a set 2 completed 1 failed 1 x ValueError: odd 1 (item 1)")
    assert read(done).endswith("1 in a set single runs")
    whole = DoneAndNotDone(done, rest)._repr_html_()
    assert whole is not None
    assert plain_text(whole).startswith("load 3 done 2 completed 1 failed")
    assert plain_text(whole).endswith("1 done single runs load 1 not done 1 waiting")
    assert plain_text(DoneAndNotDone({other}, set())._repr_html_() or "") == "1 done single runs 0 not done"
    failed = FutureSet([Part(futures, bytearray([0, 1, 0, 0]))])
    assert read(failed).startswith("load 1 in a set 1 failed 1 x ValueError: odd 1 (item 1)")
    assert map.handled == set()
