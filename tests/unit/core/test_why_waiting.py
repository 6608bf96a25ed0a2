"""Why an order waits, in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.core.deployments import SERVED, DeploymentRow
from anabranch.core.orders import Agent, Order, OrderState, Pool, Queue, Standing
from anabranch.core.picking import why_waiting

NOW = 1_000_000.0


def standing(
    *agents: Agent, order: dict[str, Any] | None = None, deployment: dict[str, Any] | None = None, **details: Any
) -> Standing:
    found = Order(**{"run": "r", "deployment": "d", "pool": "p", "queue": "q", "due": NOW - 20, **(order or {})})
    row = DeploymentRow(**{"id": "d", "flow": "f", "name": "daily", "pool": "p", **(deployment or {})})
    details = {"pool": Pool("p"), "queue": Queue("p", "q"), **details}
    return Standing(found, row, agents=list(agents), now=NOW, **details)


def agent(name: str, **details: Any) -> Agent:
    return Agent(**{"id": name, "name": name, "pool": "p", "seen": NOW - 3, **details})


ONE = agent("one")

CASES = {
    "it is not due before 1970-01-12 13:51:40 UTC, in 5 min": standing(ONE, order={"due": NOW + 300}),
    "no agent of pool p is there": standing(),
    "no agent of pool p is there any more; last words: two 40 s ago, one 2 min ago": standing(
        agent("one", seen=NOW - 120), agent("two", seen=NOW - 40)
    ),
    "2 agents of pool p, and none has label gpu": standing(
        ONE, agent("two", labels=("big",)), deployment={"labels": ("gpu", "big")}
    ),
    "1 agent of pool p, and none has label gpu and none label big": standing(
        ONE, deployment={"labels": ("gpu", "big")}
    ),
    "2 agents of pool p, and none has all of gpu, big": standing(
        agent("one", labels=("gpu",)), agent("two", labels=("big",)), deployment={"labels": ("gpu", "big")}
    ),
    "1 agent of pool p, and none serves queue q": standing(agent("one", queues=("other",))),
    "1 agent of pool p, and none serves deployment f/daily": standing(agent("one", deployments=("other",))),
    "pool p is paused": standing(ONE, pool=Pool("p", paused=True)),
    "queue q is paused": standing(ONE, queue=Queue("p", "q", paused=True)),
    "deployment f/daily is paused": standing(ONE, deployment={"paused": True}),
    "4/4 slots of pool p are held by a, b, c, d": standing(ONE, pool=Pool("p", slots=4), pool_held=list("abcd")),
    "1/1 slots of queue q are held by a": standing(ONE, queue=Queue("p", "q", slots=1), queue_held=["a"]),
    "10/10 slots of deployment f/daily are held by a, b, c, d, e, f, g, h and 2 more": standing(
        ONE, deployment={"slots": 10}, deployment_held=list("abcdefghij")
    ),
    "0/0 slots of pool p are held": standing(ONE, pool=Pool("p", slots=0)),
    "there is no pool p; no agent of pool p is there": standing(pool=None),
    "pool p is paused; 1 agent of pool p, and none has label gpu": standing(
        ONE, pool=Pool("p", paused=True), deployment={"labels": ("gpu",)}
    ),
    "2 agents could take it, and all places (3) are taken": standing(
        agent("one", capacity=1, held=1), agent("two", capacity=2, held=2)
    ),
    "no program serves deployment f/daily": standing(
        agent("one", pool=SERVED, deployments=("other",)), order={"pool": SERVED}, pool=Pool(SERVED)
    ),
    "an agent takes it at its next look": standing(ONE),
    "agent one has it for 7 s, and its driver has not begun: no node is free": standing(
        ONE, order={"state": OrderState.CLAIMED, "agent": "one", "claimed": NOW - 7, "reason": "no node is free"}
    ),
    "": standing(ONE, order={"state": OrderState.BEGUN}),
}


@pytest.mark.parametrize("sentence", CASES)
def test_the_reason_is_named(sentence: str) -> None:
    assert why_waiting(CASES[sentence]) == sentence


def test_a_served_deployment_waits_for_its_own_program() -> None:
    served = agent("one", pool=SERVED, deployments=("d",))
    assert why_waiting(standing(served, order={"pool": SERVED}, pool=Pool(SERVED))) == (
        "an agent takes it at its next look"
    )
