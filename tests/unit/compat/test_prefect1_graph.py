"""Prefect 1's flows: the graph that a block builds, and what a run makes of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import cloudpickle
import pytest

from anabranch.compat.prefect import context, flows
from anabranch.compat.prefect.tasks import task
from anabranch.compat.prefect.utilities.annotations import unmapped
from anabranch.compat.prefect1 import cache_validators, signals, states, triggers
from anabranch.compat.prefect1.control_flow import case, ifelse, merge, switch
from anabranch.compat.prefect1.executors import LocalDaskExecutor
from anabranch.compat.prefect1.flows import Edge, Flow
from anabranch.compat.prefect1.nodes import Node, Parameter, flatten, mapped
from anabranch.compat.prefect1.order import ordered, roots, terminal
from anabranch.core.errors import DeploymentError, ParameterBindError


@task
def number(x: Any = 1) -> Any:
    return x


@task
def add(x: Any, y: Any) -> Any:
    return x + y


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def fails() -> Any:
    raise ValueError("no good")


@task
def skips() -> Any:
    raise signals.SKIP("not today")


# -- the graph -----------------------------------------------------------------------------------


def test_calls_in_a_block_are_noted_and_not_made() -> None:
    with Flow("f") as flow:
        a = number(5)
        b = add(a, y=[a, {"deep": number(2)}])
    assert isinstance(a, Node)
    assert [one.name for one in flow.sorted_tasks()] == ["number", "number", "add"]
    assert flow.root_tasks() == flow.tasks - {b}
    assert flow.terminal_tasks() == flow.reference_tasks() == {b}
    assert {(e.upstream_task.name, e.key) for e in flow.edges} == {("number", "x"), ("number", "y")}
    assert flow.upstream_tasks(b) == flow.tasks - {b}
    assert flow.downstream_tasks(a) == {b}
    assert number(5) == 5, "outside of the block a call is a call"


def test_arguments_that_do_not_fit_are_refused_in_the_block() -> None:
    with Flow("f"), pytest.raises(ParameterBindError):
        add(1, 2, 3)


def test_order_is_that_of_dependencies_and_else_of_the_calls() -> None:
    with Flow("f") as flow:
        steps = [number(n) for n in range(4)]
        flow.add_edge(steps[3], steps[0])
        flow.chain(steps[2], steps[1])
    found = [one.args[0] for one in flow.sorted_tasks() if isinstance(one, Node)]
    assert found == [3, 0, 2, 1]
    assert roots(steps) == {steps[2], steps[3]}
    assert terminal(steps) == {steps[0], steps[1]}
    steps[3].upstream.append(steps[0])
    with pytest.raises(ValueError, match="Cycle found"):
        ordered(steps)


def test_a_long_chain_needs_no_deep_stack() -> None:
    with Flow("f") as flow:
        last = number(0)
        for _ in range(3000):
            last = number(last)
    assert flow.sorted_tasks()[-1] is last


def test_which_arguments_are_mapped_over() -> None:
    with Flow("f"):
        xs = number([1])
        assert add.map(xs, 1).mapped == {0}
        assert add.map(xs, unmapped([1])).mapped == {0}
        assert add.map("ab", y=(1, 2)).mapped == {"y"}
        assert add(mapped(xs), 1).mapped == {0}
        assert add(xs, [1]).mapped is None
        with pytest.raises(ValueError, match="nothing to map over"):
            add.map(1, 2)


def test_parameters_have_names_of_their_own_and_may_be_made_before_the_block() -> None:
    x = Parameter("x", default=3)
    with Flow("f") as flow:
        found = number(x)
        with pytest.raises(ValueError, match='already has a parameter named "x"'):
            Parameter("x")
    assert flow.parameters(names_only=True) == {"x"}
    assert flow.run().result[found].result == 3
    assert flow.run(x=4).result[x].result == 4


def test_tasks_that_were_not_called_are_nodes_too() -> None:
    with Flow("f") as flow:
        found = add(number, 1)
        fails.set_upstream(number)
    assert len(flow.tasks) == 3
    state = flow.run()
    assert state.result[found].result == 2
    assert state.result[fails].is_failed()
    with pytest.raises(KeyError, match="0 calls"):
        state.result[total]


def test_edges_given_to_the_flow() -> None:
    a, b = Node(number, (1,), {}), Node(add, (), {"y": 2})
    flow = Flow("f", tasks=[a, b], edges=[Edge(a, b, "x")], reference_tasks=[a])
    assert flow.run().result[b].result == 3
    assert flow.reference_tasks() == {a}


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: Flow(""), ValueError, "name"),
        (lambda: Flow("f", schedule=1).run(), NotImplementedError, "run_on_schedule=False"),
        (lambda: Flow("f").register("p"), DeploymentError, "no variable of a file"),
        (lambda: Flow("f").visualize(), NotImplementedError, "run show"),
        (lambda: Flow("f").bogus, AttributeError, "bogus"),
        (lambda: Flow("f").set_reference_tasks([number]), ValueError, "must be part of the flow"),
        (lambda: number.set_upstream(add), ValueError, "active Flow context"),
        (lambda: LocalDaskExecutor("fibers"), ValueError, "'threads', 'processes', 'sync', got 'fibers'"),
        (lambda: case(Parameter("p"), Parameter("q")), TypeError, "cannot be a task"),
        (lambda: task(trigger=triggers.manual_only)(lambda: 1), NotImplementedError, "manual_only"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        make()


def test_a_block_is_left_whatever_happens_in_it() -> None:
    with pytest.raises(ZeroDivisionError), Flow("f"):
        raise ZeroDivisionError
    assert number(2) == 2
    with Flow("f") as flow, pytest.raises(ValueError, match="inside of a `with Flow"):
        flow.run()


def test_blocks_of_two_threads_do_not_mix() -> None:
    found: list[Any] = []
    with Flow("f") as flow:
        other = threading.Thread(target=lambda: found.append(number(7)))
        other.start()
        other.join()
        number(1)
    assert found == [7]
    assert len(flow.tasks) == 1


def test_both_kinds_of_flow_have_one_name() -> None:
    assert isinstance(flows.Flow("f"), Flow)
    assert isinstance(flows.Flow(name="f"), Flow)
    later = flows.Flow(lambda: 1, name="g")
    assert isinstance(later, flows.Flow)
    assert (later(), later.name) == (1, "g")
    with pytest.raises(TypeError, match="'fn' must be callable"):
        flows.Flow(1)


# -- runs ----------------------------------------------------------------------------------------


def test_operators_keys_and_several_values() -> None:
    @task
    def pair() -> tuple[int, int]:
        return 3, 4

    with Flow("f") as flow:
        three, four = pair()
        found = [three + 1, 10 - four, three * four, number({"k": 5})["k"], three < four, 2**three]
        with pytest.raises(TypeError, match="nout="):
            _a, _b = number(1)
    state = flow.run()
    assert [state.result[one].result for one in found] == [4, 6, 12, 5, True, 8]


def test_a_map_over_what_did_not_give_a_value() -> None:
    with Flow("f") as flow:
        after_failure, after_skip = number.map(fails()), number.map(skips())
        none = number.map(number([]))
        uneven = add.map([1, 2], [1, 2, 3])
        flat = number.map(flatten(number([[1], [2, 3]])))
    found = flow.run().result
    assert isinstance(found[after_failure], states.TriggerFailed)
    assert isinstance(found[after_skip], states.Skipped)
    assert found[none].result == []
    assert found[uneven].is_failed()
    assert found[flat].result == [1, 2, 3]


def test_one_failed_item_fails_the_reduce_and_the_flow() -> None:
    @task
    def inverse(x: int) -> float:
        return 1 / x

    with Flow("f") as flow:
        each = inverse.map([1, 0])
        reduced = total(each)
    state = flow.run()
    assert state.is_failed()
    assert [type(one) for one in state.result[each].map_states] == [states.Success, states.Failed]
    assert isinstance(state.result[each].result[1], ZeroDivisionError)
    assert isinstance(state.result[reduced], states.TriggerFailed)
    flow.set_reference_tasks([each])
    assert flow.run().is_failed(), "a map ends as its items do"


def test_what_does_not_wait_for_a_mapped_value_runs_meanwhile() -> None:
    """A map can be submitted only when its input is there: what comes later in the block must not wait with it."""
    opened = threading.Event()

    @task
    def waits() -> list[int]:
        assert opened.wait(30), "the other task never ran"
        return [1, 2]

    @task
    def opens() -> None:
        opened.set()

    with Flow("f", executor=LocalDaskExecutor(num_workers=2)) as flow:
        found = number.map(waits())
        number(opens())
    assert flow.run().result[found].result == [1, 2]


def test_branches_in_branches() -> None:
    with Flow("f") as flow:
        n = Parameter("n")
        with case(number(n), 1):
            inner = number(n)
            with case(inner, 1):
                deep = number("deep")
            with case(inner, 2):
                never = number("never")
        joined = merge(deep, never)
        yes, no = number("yes"), number("no")
        ifelse(n, yes, no)
        chosen = merge(yes, no)
    one, none = flow.run(n=1).result, flow.run(n=0).result
    assert [one[s].result for s in (deep, never, joined, chosen)] == ["deep", None, "deep", "yes"]
    assert [none[s].is_skipped() for s in (inner, deep, never, joined)] == [True] * 4
    assert none[chosen].result == "no"
    with Flow("g"), pytest.raises(NotImplementedError, match="inside of the task"):
        switch(number(1), {1: number(2)}, mapped=True)


def test_a_failed_condition_fails_the_branch() -> None:
    with Flow("f") as flow:
        with case(fails(), 1):
            inside = number(1)
        joined = merge(inside, number(2))
    found = flow.run().result
    assert isinstance(found[inside], states.TriggerFailed)
    assert isinstance(found[joined], states.TriggerFailed)


def test_a_skip_goes_through_order_without_data() -> None:
    with Flow("f") as flow:
        left = number(1, upstream_tasks=[skips()])
        right = number(left)
    state = flow.run()
    assert state.is_successful()
    assert state.result[left].is_skipped()
    assert state.result[right].is_skipped()


def test_the_last_word_of_a_flow() -> None:
    told: list[Any] = []

    def decide(flow: Flow, state: states.State, reference: set[states.State]) -> states.State | None:
        return states.Success("forgiven") if state.is_failed() else None

    with Flow("f", terminal_state_handler=decide, on_failure=lambda flow, state: told.append(state)) as flow:
        found = fails()
    state = flow.run()
    assert (state.message, told) == ("forgiven", [])
    assert state.result[found].is_failed()
    flow.terminal_state_handler = None
    assert flow.run().is_failed()
    assert [type(one) for one in told] == [states.Failed]


def test_a_state_handler_has_the_last_word_on_a_flow() -> None:
    def turned(flow: Flow, old: states.State, new: states.State) -> states.State | None:
        if isinstance(new, states.Failed):
            return states.Success(f"{flow.name} is forgiven")
        return states.Failed("too good") if isinstance(new, states.Success) else None

    with Flow("f", state_handlers=[turned]) as bad:
        found = fails()
    state = bad.run()
    assert (type(state), state.message) == (states.Success, "f is forgiven")
    assert state.result[found].is_failed()
    with Flow("g", state_handlers=[turned]) as good:
        number(1)
    assert repr(good.run()) == '<Failed: "too good">'


def test_what_a_task_reads_of_its_run() -> None:
    @task
    def read() -> list[Any]:
        names = ("parameters", "flow_name", "task_name", "task_run_count", "nothing")
        return [context.get(name) for name in names]

    with Flow("reads") as flow:
        Parameter("p", default=1)
        found = read()
    assert flow.run().result[found].result == [{"p": 1}, "reads", "read", 1, None]
    assert context["today"] == f"{datetime.now(UTC):%Y-%m-%d}"
    assert "today" in context
    assert context.get("nothing", 5) == 5
    assert context.logger.name == "prefect"
    with pytest.raises(AttributeError, match="nothing"):
        _ = context.nothing
    assert cloudpickle.loads(cloudpickle.dumps(context)) is context


def test_cached_values(tmp_path: Any) -> None:
    calls: list[Any] = []

    @task(cache_for=timedelta(minutes=1), cache_validator=cache_validators.all_inputs, name=f"cached {tmp_path}")
    def kept(x: int) -> int:
        calls.append(x)
        return x

    @task(cache_for=timedelta(minutes=1), cache_validator=cache_validators.all_parameters, name=f"same {tmp_path}")
    def by_parameters(x: int) -> int:
        return x

    with Flow("f") as flow:
        Parameter("p", default=1)
        same = by_parameters(5)
        first = kept(1)
        again = kept(1, upstream_tasks=[first])
        other = kept(2)
    found = flow.run().result
    assert sorted(calls) == [1, 2]
    assert [type(found[one]) for one in (first, again, other)] == [states.Success, states.Cached, states.Success]
    assert isinstance(flow.run().result[same], states.Cached)
    assert type(flow.run(p=2).result[same]) is states.Success
