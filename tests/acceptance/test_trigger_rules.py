"""Trigger rules end to end: which runs start after mixed ends, which are skipped, and what their states are called."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import Future, State, flow, task, triggers
from anabranch.core.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@task
def good() -> str:
    return "fine"


@task
def bad() -> str:
    raise ValueError("no good")


@task(crash_retries=0)
def ends_its_worker() -> str:
    sys.exit(3)


@task
def after(*upstream: Any) -> str:
    return "ran"


@task
def good_if_even(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


Rule = tuple[str, "Callable[[Sequence[State]], bool]", str, bool]

# The name of the rule, the rule, the upstreams (g: completed, b: failed, c: crashed, s: skipped), whether it runs.
RULES: list[Rule] = [
    ("all_successful", triggers.all_successful, "gg", True),
    ("all_successful", triggers.all_successful, "gb", False),
    ("all_successful", triggers.all_successful, "gc", False),
    ("any_successful", triggers.any_successful, "gbc", True),
    ("any_successful", triggers.any_successful, "bcs", False),
    ("all_finished", triggers.all_finished, "gbcs", True),
    ("all_finished", triggers.always, "bc", True),
    ("all_finished", triggers.always_run, "gg", True),
    ("all_failed", triggers.all_failed, "bcs", True),
    ("all_failed", triggers.all_failed, "gbc", False),
    ("any_failed", triggers.any_failed, "ggs", True),
    ("any_failed", triggers.any_failed, "gc", True),
    ("any_failed", triggers.any_failed, "gg", False),
    ("some_successful", triggers.some_successful(at_least=2), "ggb", True),
    ("some_successful", triggers.some_successful(at_least=2), "gbc", False),
    ("some_successful", triggers.some_successful(at_most=1), "ggb", False),
    ("some_successful", triggers.some_successful(), "bc", False),
    ("some_successful", triggers.some_successful(at_least=0.5), "gb", True),
    ("some_successful", triggers.some_successful(at_least=0.5), "gbc", False),
    ("some_failed", triggers.some_failed(at_least=1, at_most=2), "gbc", True),
    ("some_failed", triggers.some_failed(at_least=1, at_most=2), "bcs", False),
    ("some_failed", triggers.some_failed(at_least=0.75), "gbcs", True),
    ("some_failed", triggers.some_failed(at_most=0.25), "gggb", True),
    ("some_failed", triggers.some_failed(at_most=0.25), "ggb", False),
    ("some_failed", triggers.some_failed(), "gg", False),
]
NAMES = {"g": "Completed", "b": "Failed", "c": "Crashed", "s": "TriggerFailed"}


def test_rules_over_mixed_ends(runner: str) -> None:
    found: list[State] = []

    @flow
    def main() -> str:
        crashed, failed = ends_its_worker.submit(), bad.submit()
        # An upstream that is named twice counts once: three completed ones are three.
        ended: dict[str, list[Future]] = {"g": [good.submit() for _ in range(3)], "b": [failed], "c": [crashed]}
        ended["s"] = [after.submit(failed)]
        assert {letter: several[0].wait().name for letter, several in ended.items()} == NAMES
        futures = [
            after.with_options(trigger=rule).submit(
                wait_for=[f for letter in NAMES for f in ended[letter][: letters.count(letter)]]
            )
            for _, rule, letters, _ in RULES
        ]
        found.extend(future.wait() for future in futures)
        return "data"

    assert main() == "data"
    for (name, _, letters, runs), state in zip(RULES, found, strict=True):
        if runs:
            assert (state.name, state.message) == ("Completed", ""), (name, letters)
            continue
        assert state.name == "TriggerFailed", (name, letters)
        assert state.is_failed()
        assert f"trigger {name} was not satisfied" in state.message
        assert all(NAMES[letter] in state.message for letter in letters)


def test_a_skipped_run_raises_what_names_its_trigger(runner: str) -> None:
    @flow
    def main() -> str:
        skipped = after.with_options(trigger=triggers.all_failed).submit(wait_for=[good.submit()])
        behind = after.submit(skipped)
        with pytest.raises(UpstreamError, match="all_failed"):
            skipped.result()
        with pytest.raises(UpstreamError, match="TriggerFailed"):
            behind.result()
        return "data"

    assert main() == "data"


def test_a_run_that_its_trigger_lets_in_reads_the_errors(runner: str) -> None:
    @task(trigger=triggers.all_finished)
    def told(upstream: Any) -> str:
        return f"{type(upstream).__name__}: {upstream}"

    @flow
    def main() -> list[str]:
        return [told.submit(f).result() for f in (good.submit(), bad.submit(), ends_its_worker.submit())]

    assert main() == ["str: fine", "ValueError: no good", "SystemExit: 3"]


def test_a_rule_looks_at_each_item_of_a_map_by_itself(runner: str) -> None:
    @task(trigger=triggers.any_failed)
    def mend(upstream: Any) -> str:
        return f"mended: {upstream}"

    @flow
    def main() -> tuple[list[str], list[str]]:
        several = good_if_even.map(range(4))
        mended = mend.map(several)
        return [s.name for s in mended.wait()], [mended[n].result() for n in (1, 3)]

    names, values = main()
    assert names == ["TriggerFailed", "Completed", "TriggerFailed", "Completed"]
    assert values == ["mended: 1 is odd", "mended: 3 is odd"]


@pytest.mark.parametrize(("at_least", "name"), [(2, "Completed"), (3, "TriggerFailed"), (0.5, "Completed")])
def test_a_rule_counts_the_items_of_a_map_that_is_waited_for(runner: str, at_least: float, name: str) -> None:
    @flow
    def main() -> str:
        several = good_if_even.map(range(4))
        rule = triggers.some_successful(at_least=at_least)
        found: str = after.with_options(trigger=rule).submit(wait_for=several).wait().name
        return found

    assert main() == name


def test_a_rule_of_ones_own_sees_the_states_and_may_be_wrong(runner: str) -> None:
    seen: list[list[str]] = []

    def only_after_a_crash(upstream: Sequence[State]) -> bool:
        seen.append([state.name for state in upstream])
        return any(state.is_crashed() for state in upstream)

    def broken(upstream: Sequence[State]) -> bool:
        raise KeyError("rule")

    found: list[State] = []

    @flow
    def main() -> str:
        upstream = [good.submit(), ends_its_worker.submit()]
        rules = (only_after_a_crash, broken)
        found.extend(after.with_options(trigger=rule).submit(wait_for=upstream).wait() for rule in rules)
        return "data"

    assert main() == "data"
    ran, refused = found
    assert ran.name == "Completed"
    assert seen == [["Completed", "Crashed"]]
    assert refused.name == "TriggerFailed"
    assert "its trigger broken raised KeyError" in refused.message
