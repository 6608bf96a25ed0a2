"""Prefect 1's tasks, options, states, signals and triggers, beside ours."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anabranch.compat.prefect import triggers
from anabranch.compat.prefect.tasks import Task, task
from anabranch.compat.prefect1 import signals, states
from anabranch.compat.prefect1.carrying import Carrier
from anabranch.compat.prefect1.older_options import translated
from anabranch.compat.prefect1.triggers import engine_trigger
from anabranch.core import states as core


@task
def number(x: Any = 1) -> Any:
    return x


class Times(Task[Any, Any]):
    def __init__(self, by: int, **given: Any) -> None:
        self.by = by
        super().__init__(**given)

    def run(self, x: int) -> int:
        return x * self.by


# -- tasks ---------------------------------------------------------------------------------------


def test_a_subclass_is_a_task_with_attributes_of_its_own() -> None:
    times = Times(3, name="thrice", max_retries=2)
    assert (times(4), times.run(5), times.name, times.by, times.retries) == (12, 15, "thrice", 3, 2)
    again = pickle.loads(pickle.dumps(times))
    assert (type(again), again(4), again.name, again.retries) == (Times, 12, "thrice", 2)
    assert Times(2).name == "Times"
    assert number.run(3) == 3
    assert Task(state_handlers=[])() is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"max_retries": 2, "retry_delay": timedelta(seconds=3)}, {"retries": 2, "retry_delay_seconds": 3.0}),
        ({"timeout": 5, "log_stdout": True}, {"timeout_seconds": 5, "log_prints": True}),
        ({"cache_expiration_seconds": 60}, {"cache_expiration": timedelta(minutes=1)}),
        ({"retries": 1}, {"retries": 1}),
        ({"max_retries": None}, {}),
    ],
)
def test_older_names_of_options(given: dict[str, Any], found: dict[str, Any]) -> None:
    assert translated(given) == found


def test_an_option_by_both_of_its_names_is_refused() -> None:
    with pytest.raises(TypeError, match="'max_retries' is an older name of 'retries'"):
        task(max_retries=1, retries=2)(lambda: 1)
    with pytest.raises(NotImplementedError, match="cache_validator"):
        task(cache_for=timedelta(1), cache_validator=print)(lambda: 1)


def test_a_carrier_with_a_parameter_of_any_name() -> None:
    def fn(first: int, /, *rest: int, key: int = 0, **more: int) -> list[Any]:
        return [first, rest, key, more]

    carrier = Carrier(fn, "fn")
    assert carrier((), frozenset(), 1, 2, key=3, other=4) == [1, (2,), 3, {"other": 4}]
    assert isinstance(carrier((states.Skip(),), frozenset(), 1), states.Skip)
    assert isinstance(carrier((), frozenset({0}), [[states.Skip()]]), states.Skip)
    assert carrier((), frozenset(), [1])[0] == [1]
    lenient = Carrier(fn, "fn", "none")
    assert lenient((), frozenset({0}), [states.Skip(), 1], key=states.Skip()) == [[None, 1], (), None, {}]


# -- states, signals, triggers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "kind"),
    [
        (core.Pending(), states.Pending), (core.Running(), states.Running), (core.Retrying(), states.Running),
        (core.AwaitingRetry(start_time=1.0), states.Retrying), (core.Completed(data=1), states.Success),
        (core.Completed(data=states.Skip("s")), states.Skipped), (core.Cached(data=1), states.Cached),
        (core.Failed(data=ValueError()), states.Failed), (core.TimedOut(), states.TimedOut),
        (core.TriggerFailed(), states.TriggerFailed), (core.Crashed(), states.Failed),
        (core.Cancelled(), states.Cancelled),
    ],
)  # fmt: skip
def test_states_as_prefect_1_has_them(ours: Any, kind: type[states.State]) -> None:
    found = states.of_ours(ours)
    assert type(found) is kind
    back = states.to_ours(found)
    assert back.is_final() == ours.is_final()
    assert back.is_completed() == ours.is_completed()


def test_a_state_tells_what_it_is() -> None:
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    retrying = states.Retrying("later", start_time=begins)
    assert states.of_ours(states.to_ours(retrying)).start_time == begins
    assert retrying.is_retrying()
    assert retrying.is_pending()
    assert not retrying.is_finished()
    assert states.Skipped().is_successful()
    assert states.Mapped(map_states=[states.Success(result=1)]).result == [1]
    assert repr(states.Success("fine")) == '<Success: "fine">'
    assert states.Success(result=1) == states.Success(result=1) != states.Cached(result=1)


def test_signals_travel_and_stand_for_states() -> None:
    signal = pickle.loads(pickle.dumps(signals.SUCCESS("early", result=3)))
    assert (signal.state.result, signal.state.message) == (3, "early")
    failed = signals.FAIL("no")
    assert isinstance(failed.state, states.Failed)
    assert failed.state.result is failed


def test_triggers_of_the_users() -> None:
    assert engine_trigger(triggers.all_successful) is None
    assert engine_trigger(triggers.any_failed) is triggers.any_failed
    some = triggers.some_failed(at_least=1)
    assert engine_trigger(some) is some
    seen: list[Any] = []

    def mine(upstream: dict[Any, states.State]) -> bool:
        seen.extend(type(one) for one in upstream.values())
        raise signals.TRIGGERFAIL("no")

    assert not engine_trigger(mine)([core.Completed(), core.TimedOut(message="late")])
    assert seen == [states.Success, states.TimedOut]
