"""Which orders an agent gets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Agent, Pool, Queue
from anabranch.core.picking import Candidate, Picking, Room, Sitting, fits

if TYPE_CHECKING:
    from collections.abc import Iterable

QUEUES = ("fast", "slow", "other")
DEPLOYMENTS = ("a", "b", "c")


def deployment(id: str, **details: Any) -> DeploymentRow:
    return DeploymentRow(id=id, flow="f", name=id, **details)


def room(*deployments: DeploymentRow, pool: Pool | None = None, queues: tuple[Queue, ...] = (), **held: int) -> Room:
    """A pool `p`; `held` counts orders of deployments in the queue "default"."""
    return Room(
        pool or Pool("p"),
        {one.name: one for one in queues},
        {one.id: one for one in deployments},
        {("p", "default", id): count for id, count in held.items()},
    )


def waiting(*runs: str) -> list[Candidate]:
    """Orders of the queue "default": "a1" is one of deployment a; the later in the list, the later due."""
    return [Candidate(run, run[0], "default", 0, float(due)) for due, run in enumerate(runs)]


def pick(agent: Agent, places: int, waiting: Iterable[Candidate], room: Room, asking: int = 1) -> list[Candidate]:
    """Return the orders that an agent gets of those that wait and are due, first to last."""
    picking = Picking(agent, places, room, asking)
    found: dict[str, list[Candidate]] = {}
    for one in waiting:
        found.setdefault(one.queue, []).append(one)
    picking.look(found, ())
    return picking.picked


def runs(picked: list[Candidate]) -> list[str]:
    return [one.run for one in picked]


def test_an_agent_takes_orders_with_labels_among_its_own_of_queues_and_deployments_it_serves() -> None:
    agent = Agent("1", "one", queues=("q",), labels=("gpu", "big"), deployments=("d",))
    assert fits(agent, ("gpu",), "q", "d")
    assert fits(agent, (), "q", "d")
    assert not fits(agent, ("gpu", "slow"), "q", "d")
    assert not fits(agent, (), "other", "d")
    assert not fits(agent, (), "q", "other")
    assert fits(Agent("2", "two"), (), "any", "any")


def test_order_is_by_queue_then_run_priority_then_due_then_id() -> None:
    queues = (Queue("p", "first", 1), Queue("p", "second", 2), Queue("p", "as well", 1))
    orders = [
        Candidate("late", "a", "first", 0, 9.0),
        Candidate("high", "a", "second", 99, 0.0),
        Candidate("x", "a", "as well", 0, 5.0),
        Candidate("w", "a", "first", 0, 5.0),
        Candidate("urgent", "a", "as well", 1, 10.0),
    ]
    found = pick(Agent("1", "one"), 5, orders, room(deployment("a"), queues=queues))
    assert runs(found) == ["urgent", "w", "x", "late", "high"]


def test_a_full_or_paused_deployment_starves_nobody_behind_it() -> None:
    orders = waiting(*(f"a{n:03}" for n in range(200)), "b1")
    for full in (deployment("a", slots=2), deployment("a", paused=True), deployment("a", labels=("gpu",))):
        found = pick(Agent("1", "one"), 1, orders, room(full, deployment("b"), a=2))
        assert runs(found) == ["b1"]


def test_slots_of_pool_queue_and_deployment_all_bind() -> None:
    orders = waiting("a1", "a2", "a3", "b1", "b2")
    one, everything = Agent("1", "one"), (deployment("a", slots=2), deployment("b"))
    assert runs(pick(one, 9, orders, room(*everything))) == ["a1", "a2", "b1", "b2"]
    assert runs(pick(one, 9, orders, room(*everything, a=1))) == ["a1", "b1", "b2"]
    assert runs(pick(one, 9, orders, room(*everything, pool=Pool("p", slots=2)))) == ["a1", "a2"]
    assert runs(pick(one, 9, orders, room(*everything, pool=Pool("p", slots=2), a=1))) == ["a1"]
    assert runs(pick(one, 9, orders, room(*everything, queues=(Queue("p", "default", slots=3),)))) == ["a1", "a2", "b1"]
    assert runs(pick(one, 9, orders, room(*everything, pool=Pool("p", paused=True)))) == []
    assert runs(pick(one, 9, orders, room(*everything, queues=(Queue("p", "default", paused=True),)))) == []


def test_what_another_pool_holds_counts_for_the_deployment_alone() -> None:
    held = Room(
        Pool("p", slots=2), {}, {"a": deployment("a", slots=2), "b": deployment("b")}, {("other", "default", "a"): 2}
    )
    assert runs(pick(Agent("1", "one"), 9, waiting("a1", "b1", "b2"), held)) == ["b1", "b2"]


def test_agents_that_ask_together_share_what_there_is() -> None:
    orders, free = waiting(*(f"a{n}" for n in range(6))), room(deployment("a"))
    assert len(pick(Agent("1", "one"), 10, orders, free, asking=1)) == 6
    assert runs(pick(Agent("1", "one"), 10, orders, free, asking=3)) == ["a0", "a1"]
    assert len(pick(Agent("1", "one"), 2, orders, free, asking=2)) == 2
    assert len(pick(Agent("1", "one"), 5, orders[:1], free, asking=8)) == 1
    assert len(pick(Agent("1", "one"), 5, orders, room(deployment("a"), pool=Pool("p", slots=3)), asking=2)) == 2


# -- a choice in several looks is that of one pass over everything ---------------------------------

slots = st.one_of(st.none(), st.integers(0, 4))
flags = st.sampled_from([False, False, False, True])
labels = st.lists(st.sampled_from(["gpu", "big"]), max_size=2, unique=True).map(tuple)


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    queues = {
        name: Queue("p", name, draw(st.integers(1, 2)), draw(slots), draw(flags))
        for name in QUEUES
        if draw(st.booleans())
    }
    rows = {id: deployment(id, labels=draw(labels), slots=draw(slots), paused=draw(flags)) for id in DEPLOYMENTS}
    keys = st.tuples(st.sampled_from(["p", "else"]), st.sampled_from(QUEUES), st.sampled_from(DEPLOYMENTS))
    held = draw(st.dictionaries(keys, st.integers(1, 2), max_size=3))
    return Room(Pool("p", slots=draw(st.one_of(st.none(), st.integers(0, 9))), paused=draw(flags)), queues, rows, held)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    parts = st.tuples(st.sampled_from(DEPLOYMENTS), st.sampled_from(QUEUES), st.integers(0, 2), st.integers(0, 3))
    return [Candidate(f"{n:02}", *one[:3], float(one[3])) for n, one in enumerate(draw(st.lists(parts, max_size=40)))]


agents = st.builds(
    Agent, st.just("1"), st.just("one"), st.just("p"),
    st.lists(st.sampled_from(QUEUES), max_size=2, unique=True).map(tuple), labels,
    st.lists(st.sampled_from(DEPLOYMENTS), max_size=2, unique=True).map(tuple),
)  # fmt: skip


def one_by_one(agent: Agent, places: int, orders: list[Candidate], room: Room) -> list[str]:
    """The rule itself, slowly: each order in turn is taken where nothing forbids it."""
    held = [key for key, count in room.held.items() for _ in range(count)]
    found: list[str] = []
    queue = {name: room.queues.get(name) or Queue("p", name) for name in QUEUES}
    for one in sorted(orders, key=lambda one: (queue[one.queue].priority, -one.priority, one.due, one.run)):
        row = room.deployments[one.deployment]
        full = [
            room.pool.slots is not None and sum(pool == "p" for pool, _, _ in held) >= room.pool.slots,
            queue[one.queue].slots is not None
            and sum(key[:2] == ("p", one.queue) for key in held) >= (queue[one.queue].slots or 0),
            row.slots is not None and sum(id == one.deployment for _, _, id in held) >= row.slots,
        ]
        paused = room.pool.paused or queue[one.queue].paused or row.paused
        fitting = fits(agent, row.labels, one.queue, one.deployment)
        if fitting and len(found) < places and not any(full) and not paused:
            found.append(one.run)
            held.append(("p", one.queue, one.deployment))
    return found


def first_of_queues(orders: list[Candidate], limit: int) -> dict[str, list[Candidate]]:
    rows = {name: [one for one in orders if one.queue == name] for name in QUEUES}
    return {
        name: sorted(found, key=lambda one: (-one.priority, one.due, one.run))[:limit] for name, found in rows.items()
    }


def looked(picking: Picking, orders: list[Candidate], first: int, more: int, taken: set[str]) -> None:
    """A choice in looks, as the service takes them: the first look is at all that waits, the others leave out."""

    def show(found: dict[str, list[Candidate]], limit: int) -> bool:
        left = {name: [one for one in rows if one.run not in taken] for name, rows in found.items()}
        return picking.look(left, [name for name, rows in found.items() if len(rows) >= limit])

    again, looks = picking.wanted > 0 and show(first_of_queues(orders, first), first), 0
    while again:
        open, looks = set(picking.deployments), looks + 1
        assert looks < 20
        limit = picking.wanted + len(taken) + more
        fitting = [one for one in orders if one.deployment in open and picking.open(one.queue)]
        again = show(first_of_queues(fitting, limit), limit)


@given(agents, st.integers(0, 6), candidates(), rooms(), st.integers(1, 9), st.integers(1, 5))
def test_looks_with_a_limit_choose_what_one_pass_over_everything_chooses(
    agent: Agent, places: int, orders: list[Candidate], room: Room, first: int, more: int
) -> None:
    expected = one_by_one(agent, places, orders, room)
    assert runs(pick(agent, places, orders, room)) == expected
    picking = Picking(agent, places, room)
    looked(picking, orders, first, more, set())
    assert runs(picking.picked) == expected


@given(
    st.lists(st.tuples(agents, st.integers(0, 6)), max_size=4), candidates(), rooms(), st.integers(1, 9),
    st.integers(1, 5), st.dictionaries(st.sampled_from("0123"), st.integers(0, 5)),
)  # fmt: skip
def test_a_sitting_chooses_what_its_agents_would_get_one_after_another(
    asked: list[tuple[Agent, int]], orders: list[Candidate], room: Room, first: int, more: int, there: dict[str, int]
) -> None:
    sitting, left, held = Sitting(room, {"0": 1}, there), list(orders), Counter({"0": 1})
    counts = Counter(room.held)
    for number, (agent, places) in enumerate(asked):
        agent = replace(agent, id=str(number))
        asking = {id for id, capacity in there.items() if held[id] < capacity} | {agent.id}
        expected = pick(agent, places, left, replace(room, held=counts), len(asking))
        picking = sitting.begin(agent, places)
        looked(picking, orders, first, more, sitting.taken)
        assert sitting.end(agent, picking) == expected
        left = [one for one in left if one not in expected]
        counts.update(("p", one.queue, one.deployment) for one in expected)
        held[agent.id] += len(expected)
