"""Which key a run gets, and that a failing one never fails the run."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from anabranch.core import policies as p
from anabranch.core.context import TaskRun
from anabranch.core.keys import ConstantHasher, hash_value
from anabranch.core.options import TaskOptions, make
from anabranch.core.task_spec import TaskSpec
from anabranch.engine.caching import KeyFailed, key_of, needs_flow_parameters, needs_source, uses_inputs


def spec(**options: Any) -> TaskSpec:
    return TaskSpec("load", len, make(TaskOptions, "@task 'load'", options), "def load(): ...")


RUN = TaskRun("load", "map-1", 3, flow_run_id="flow-1")


class Answers:
    """A key function with a fixed answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, context: Any, parameters: dict[str, Any]) -> Any:
        return self.answer


def raises(context: Any, parameters: dict[str, Any]) -> str:
    raise ValueError("no key today")


def test_uncached() -> None:
    assert key_of(spec(), RUN, {"x": 1}) is None
    assert key_of(spec(cache_policy=p.NO_CACHE), RUN, {"x": 1}) is None
    assert key_of(spec(cache_key_fn=Answers(None)), RUN, {"x": 1}) is None
    assert key_of(spec(cache_key_fn=Answers("")), RUN, {"x": 1}) is None


def test_policy() -> None:
    one = key_of(spec(cache_policy=p.INPUTS), RUN, {"x": 1})
    assert one == key_of(spec(cache_policy=p.INPUTS), RUN, {"x": 1})
    assert one != key_of(spec(cache_policy=p.INPUTS), RUN, {"x": 2})
    flow = spec(cache_policy=p.FLOW_PARAMETERS)
    assert key_of(flow, RUN, {}, {"a": 1}) != key_of(flow, RUN, {}, {"a": 2})


def test_the_key_fn_wins() -> None:
    both = spec(cache_key_fn=lambda context, params: f"{context.task.name}-{params['x']}", cache_policy=p.INPUTS)
    assert key_of(both, RUN, {"x": 1}) == "load-1"


@pytest.mark.parametrize(
    ("options", "inputs", "reason"),
    [
        ({"cache_key_fn": raises}, {}, "cache_key_fn 'raises' raised ValueError: no key today"),
        ({"cache_key_fn": Answers(3)}, {}, "must return a string or None, got int"),
        ({"cache_policy": p.INPUTS}, {"x": [threading.Lock()]}, r"cannot hash inputs\['x'\]\[0\]: cannot pickle"),
        ({"cache_policy": p.CacheKeyFnPolicy(raises)}, {}, "CacheKeyFnPolicy\\(raises\\) raised ValueError"),
        ({"cache_key_fn": p.task_input_hash}, {"x": threading.Lock()}, r"cannot hash inputs\['x'\]: cannot pickle"),
    ],
)
def test_failures_are_told_apart(options: dict[str, Any], inputs: dict[str, Any], reason: str) -> None:
    with pytest.raises(KeyFailed, match=reason) as caught:
        key_of(spec(**options), RUN, inputs)
    assert caught.value.reason == str(caught.value)


@pytest.mark.parametrize("options", [{"cache_policy": p.DEFAULT}, {"cache_key_fn": p.task_input_hash}])
def test_constants_are_hashed_once(options: dict[str, Any]) -> None:
    table = {"a": [1, 2]}
    digest = ConstantHasher([table])
    cached = spec(**options)
    before = key_of(cached, RUN, {"x": 1, "table": table}, None, digest)
    assert before == key_of(cached, RUN, {"x": 1, "table": table})  # the same key without it
    table["a"].append(3)
    assert before == key_of(cached, RUN, {"x": 1, "table": table}, None, digest)
    assert before != key_of(cached, RUN, {"x": 2, "table": table}, None, digest)


@pytest.mark.parametrize("by", ["cache_key_fn", "cache_policy"])
def test_a_key_fn_sees_a_plain_dict(by: str) -> None:
    seen: list[Any] = []

    def keyed(context: Any, parameters: dict[str, Any]) -> str | None:
        seen.append(type(parameters))
        return p.task_input_hash(context, {"table": parameters["table"]})

    options: dict[str, Any] = {by: keyed if by == "cache_key_fn" else p.CacheKeyFnPolicy(keyed)}
    table = [1]
    digest = ConstantHasher([table])
    before = key_of(spec(**options), RUN, {"table": table}, None, digest)
    table.append(2)
    assert before == key_of(spec(**options), RUN, {"table": table}, None, digest), "of a part of them too"
    assert seen == [dict, dict]


def test_a_foreign_policy_may_pickle_the_inputs() -> None:
    class Pickles(p.CachePolicy):
        def compute_key(self, spec: Any, run: Any, inputs: Any, flow_parameters: Any = None) -> str:
            return pickle.dumps(inputs).hex() + hash_value(inputs)

    table = [1]
    options: dict[str, Any] = {"cache_policy": Pickles()}
    assert key_of(spec(**options), RUN, {"x": table}) == key_of(
        spec(**options), RUN, {"x": table}, None, ConstantHasher([table])
    )


class Own:
    def compute_key(self, *args: Any) -> str:
        return "own"


@pytest.mark.parametrize(
    ("policy", "needs"),
    [
        (None, (False, False, False)),
        (p.NO_CACHE, (False, False, False)),
        (p.RUN_ID, (False, False, False)),
        (p.INPUTS - "x", (True, False, False)),
        (p.TASK_SOURCE, (False, True, False)),
        (p.FLOW_PARAMETERS, (False, False, True)),
        (p.DEFAULT, (True, True, False)),
        (p.TASK_SOURCE + p.FLOW_PARAMETERS, (False, True, True)),
        (p.CacheKeyFnPolicy(raises), (True, True, False)),
        (p.INPUTS + p.CacheKeyFnPolicy(raises), (True, True, False)),
        (Own(), (True, True, True)),
    ],
    ids=repr,
)
def test_what_keys_need(policy: Any, needs: tuple[bool, bool, bool]) -> None:
    assert (uses_inputs(policy), needs_source(policy), needs_flow_parameters(policy)) == needs


def test_a_foreign_policy_will_do() -> None:
    assert key_of(spec(cache_policy=Own()), RUN, {}) == "own"
