"""What a state handler answers is taken in by the transition table: a state that cannot follow fails the run."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import flow, state, task
from anabranch import session as sessions


def back(obj: Any, old: Any, new: Any) -> Any:
    """Sends a run that has ended back to where it was before it began."""
    from anabranch import state

    return state.Pending() if new.is_final() else None


def on(obj: Any, old: Any, new: Any) -> Any:
    """Lets a run that has ended run on."""
    from anabranch import state

    return state.Running() if new.is_final() else None


def instead(obj: Any, old: Any, new: Any) -> Any:
    from anabranch import state

    return state.Completed("not needed", 5) if new.is_running() else None


@task(state_handlers=[back])
def sent_back() -> int:
    return 1


@task(state_handlers=[instead])
def replaced() -> int:
    raise AssertionError("it never runs")


def test_a_task_that_has_begun_cannot_be_pending_again(runner: str) -> None:
    @flow
    def main() -> Any:
        submitted = sent_back.submit().wait()
        return submitted.name, submitted.message, sent_back(return_state=True).name

    name, message, called = main()
    assert (name, called) == ("Failed", "Failed")
    assert "'back' answered Pending: a run that is RUNNING cannot become PENDING" in message


def test_an_end_before_the_beginning_is_allowed(runner: str) -> None:
    @flow
    def main() -> Any:
        return replaced.submit(), replaced()

    assert main() == (5, 5)


@pytest.mark.parametrize("handler", [back, on])
def test_a_flow_run_ends_with_a_final_state(threads: str, handler: Any) -> None:
    """Else its record would say for ever that it runs."""

    @flow(state_handlers=[handler])
    def main() -> int:
        return 1

    ended = main(return_state=True)
    assert isinstance(ended, state.Failed)
    row = sessions.current().records.flow_run(ended.run_id)
    assert row is not None
    assert (row.state_name, row.ended is not None) == ("Failed", True)
