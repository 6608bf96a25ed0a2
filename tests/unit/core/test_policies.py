"""Cache policies: what counts, how they add up, and how they are written."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import cloudpickle
import pytest

from anabranch.core import policies
from anabranch.core.context import TaskRun
from anabranch.core.errors import OptionError, SerializationError
from anabranch.core.options import TaskOptions, make
from anabranch.core.policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    KeyContext,
    task_input_hash,
)
from anabranch.core.task_spec import TaskSpec


def double(x: int) -> int:
    return x * 2


def triple(x: int) -> int:
    return x * 3


def spec(name: str = "double", fn: Any = double, source: str | None = "def double(x): ...") -> TaskSpec:
    return TaskSpec(name, fn, TaskOptions(), source)


def run(flow: str = "flow-1", map_id: str = "map-1", index: int = 0) -> TaskRun:
    return TaskRun("double", map_id, index, flow_run_id=flow)


def key(policy: Any, **changes: Any) -> str | None:
    given = {"spec": spec(), "run": run(), "inputs": {"x": 1, "y": 2}, "flow_parameters": {"p": 1}, **changes}
    found: str | None = policy.compute_key(**given)
    return found


ALL = [INPUTS, TASK_SOURCE, RUN_ID, FLOW_PARAMETERS, DEFAULT, INPUTS - "y", DEFAULT - "x", INPUTS + FLOW_PARAMETERS]


@pytest.mark.parametrize("policy", ALL, ids=repr)
def test_keys_are_stable(policy: CachePolicy) -> None:
    assert isinstance(key(policy), str)
    assert key(policy) == key(policy, inputs={"y": 2, "x": 1})
    assert key(pickle.loads(pickle.dumps(policy))) == key(policy)
    assert pickle.loads(pickle.dumps(policy)) == policy


@pytest.mark.parametrize(
    ("change", "counts_for"),
    [
        ({"inputs": {"x": 2, "y": 2}}, {"INPUTS", "INPUTS - 'y'", "DEFAULT", "INPUTS + FLOW_PARAMETERS"}),
        (
            {"inputs": {"x": 1, "y": 3}},
            {"INPUTS", "DEFAULT", "(INPUTS - 'x') + TASK_SOURCE + RUN_ID", "INPUTS + FLOW_PARAMETERS"},
        ),
        (
            {"spec": spec(source="def double(x): 0")},
            {"TASK_SOURCE", "DEFAULT", "(INPUTS - 'x') + TASK_SOURCE + RUN_ID"},
        ),
        ({"run": run("flow-2")}, {"RUN_ID", "DEFAULT", "(INPUTS - 'x') + TASK_SOURCE + RUN_ID"}),
        ({"run": run(index=1)}, set()),
        ({"flow_parameters": {"p": 2}}, {"FLOW_PARAMETERS", "INPUTS + FLOW_PARAMETERS"}),
        ({"spec": spec("other")}, {repr(p) for p in ALL if p != TASK_SOURCE}),
    ],
)
def test_what_counts(change: dict[str, Any], counts_for: set[str]) -> None:
    assert {repr(policy) for policy in ALL if key(policy) != key(policy, **change)} == counts_for


def test_nothing_to_say() -> None:
    assert key(INPUTS, inputs={}) is None
    assert key(FLOW_PARAMETERS, flow_parameters=None) is None
    assert key(NO_CACHE) is None
    assert NONE is NO_CACHE
    assert key(INPUTS + FLOW_PARAMETERS, inputs={}, flow_parameters=None) is None
    assert key(INPUTS + TASK_SOURCE, inputs={}) is not None


def test_none_parts_are_left_out() -> None:
    nothing = CacheKeyFnPolicy(lambda context, parameters: None)
    assert key(INPUTS + TASK_SOURCE + nothing) == key(INPUTS + TASK_SOURCE)


def test_outside_a_flow_each_run_is_its_own() -> None:
    alone, other = run(flow=""), run(flow="", index=1)
    assert key(RUN_ID, run=alone) != key(RUN_ID, run=other)
    assert key(RUN_ID, run=run(flow="")) == key(RUN_ID, run=alone)


def test_adding() -> None:
    assert INPUTS + TASK_SOURCE + RUN_ID == DEFAULT
    assert key(RUN_ID + INPUTS + TASK_SOURCE) == key(DEFAULT)
    assert INPUTS + INPUTS == INPUTS
    assert INPUTS + (TASK_SOURCE + INPUTS) == INPUTS + TASK_SOURCE
    assert NO_CACHE + INPUTS == INPUTS == INPUTS + NO_CACHE
    assert NO_CACHE + NO_CACHE == NO_CACHE
    assert DEFAULT + NO_CACHE == DEFAULT
    for policy in (INPUTS, NO_CACHE):
        with pytest.raises(TypeError):
            _ = policy + 1


def test_leaving_out() -> None:
    assert INPUTS - "a" - "b" == INPUTS - "b" - "a" - "b"
    assert key(INPUTS - "y") == key(INPUTS - "y", inputs={"x": 1, "y": threading.Lock()})
    assert policies.InputsPolicy() == INPUTS  # untouched
    with pytest.raises(OptionError, match="must be the name of an argument"):
        _ = INPUTS - 1
    with pytest.raises(OptionError, match="RUN_ID - 'x': only a policy with INPUTS in it"):
        _ = RUN_ID - "x"
    with pytest.raises(OptionError, match="TASK_SOURCE \\+ RUN_ID - 'x'"):
        _ = (TASK_SOURCE + RUN_ID) - "x"


def test_repr() -> None:
    assert repr(DEFAULT) == "DEFAULT"
    assert repr(INPUTS - "b" - "a") == "INPUTS - 'a' - 'b'"
    assert repr(TASK_SOURCE + (INPUTS - "a")) == "TASK_SOURCE + (INPUTS - 'a')"
    assert repr(NO_CACHE) == "NO_CACHE"
    assert repr(CacheKeyFnPolicy(task_input_hash)) == "CacheKeyFnPolicy(task_input_hash)"


def test_unhashable_inputs_name_the_culprit() -> None:
    with pytest.raises(SerializationError, match=r"cannot hash inputs\['config'\]\['lock'\]: "):
        key(DEFAULT, inputs={"config": {"lock": threading.Lock()}})
    with pytest.raises(SerializationError, match=r"cannot hash flow_parameters\['p'\]: "):
        key(FLOW_PARAMETERS, flow_parameters={"p": threading.Lock()})


def test_without_source_the_code_counts() -> None:
    assert key(TASK_SOURCE, spec=spec(source=None)) == key(TASK_SOURCE, spec=spec("other", source=None))
    assert key(TASK_SOURCE, spec=spec(source=None)) != key(TASK_SOURCE, spec=spec(fn=triple, source=None))

    class Called:
        def __call__(self, x: int) -> int:
            return x

    assert key(TASK_SOURCE, spec=spec(fn=Called(), source=None)) == key(
        TASK_SOURCE, spec=spec(fn=Called(), source=None)
    )
    assert key(TASK_SOURCE, spec=spec(fn=len, source=None)) is not None


def test_the_key_fn_sees_task_and_run() -> None:
    seen: list[Any] = []

    def fn(context: KeyContext, parameters: dict[str, Any]) -> str:
        seen.append((context.task.name, context.task_run.id, context.flow_run_id, context.parameters, parameters))
        return "mine"

    policy = CacheKeyFnPolicy(fn)
    assert key(policy) == "mine"
    assert seen == [("double", "map-1/0", "flow-1", {"x": 1, "y": 2}, {"x": 1, "y": 2})]
    assert key(pickle.loads(cloudpickle.dumps(policy))) == "mine"


def test_task_input_hash() -> None:
    def answer(fn: Any = double, source: str | None = None, **inputs: Any) -> str | None:
        return task_input_hash(KeyContext(spec(fn.__name__, fn, source), run()), inputs)

    assert answer(x=1) == answer(x=1)
    assert len({answer(x=1), answer(x=2), answer(y=1), answer(triple, x=1), answer(), answer(source="s", x=1)}) == 6


def test_a_policy_of_ones_own() -> None:
    class Daily(CachePolicy):
        def compute_key(self, *args: Any, **kwargs: Any) -> str | None:
            return "monday"

    assert key(Daily()) == "monday"
    assert key(INPUTS + Daily()) not in (key(INPUTS), None)


def test_options_take_policies() -> None:
    assert make(TaskOptions, "@task 'f'", {"cache_policy": DEFAULT - "x"}).cache_policy == DEFAULT - "x"
