"""Tags add up: those of `with tags(...)`, nested, of the flow around and of the task or flow itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import flow, tags, task
from anabranch import session as sessions
from tests.acceptance.ways import WAYS, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.gates import Gate


@task(tags=["own"])
def of_task(x: Any) -> tuple[str, ...]:
    from anabranch.core import context

    here = context.current_task.get()
    assert here is not None
    return here.run.tags


def in_flow(**options: Any) -> tuple[Any, Callable[[], tuple[str, ...]]]:
    """A flow that does nothing, and what asks for the tags of its last run."""
    ids: list[str] = []
    made = flow(name="child", on_running=[lambda flow, run, new: ids.append(run.id)], **options)(lambda: 1)

    def found() -> tuple[str, ...]:
        row = sessions.current().records.flow_run(ids[-1])
        assert row is not None
        return row.tags

    return made, found


def test_nested_tags_add_up_on_task_runs(runner: str) -> None:
    @flow(tags=["flow"])
    def main() -> list[tuple[str, ...]]:
        found = []
        with tags("a", "b"), tags("b", "c"):
            found.extend(result_of(way, of_task, 1) for way in WAYS)
        found.append(of_task.submit(1).result())
        return found

    with tags("outer"):
        found = main()
    assert [set(one) for one in found[:3]] == [{"own", "flow", "outer", "a", "b", "c"}] * 3
    assert set(found[3]) == {"own", "flow", "outer"}
    assert all(len(one) == len(set(one)) for one in found), "each tag once"


def test_the_inner_block_ends_before_the_outer_one(threads: str) -> None:
    with tags("a") as outer:
        with tags("b") as inner:
            assert set(of_task(1)) == {"own", "a", "b"}
        assert set(of_task(1)) == {"own", "a"}
    assert set(of_task(1)) == {"own"}
    assert (outer, inner) == (("a",), ("a", "b"))


def test_flow_runs_have_them(threads: str) -> None:
    made, found = in_flow(tags=["own"])
    with tags("a"), tags("b", "own"):
        made()
    assert sorted(found()) == ["a", "b", "own"]
    made()
    assert found() == ("own",)


def test_subflows_have_those_of_the_flow_around(runner: str) -> None:
    """Called or submitted, which runs them in a thread of their own."""
    child, of_child = in_flow(tags=["child"])

    @flow(tags=["parent"])
    def parent(submitted: bool) -> list[str]:
        with tags("block"):
            child.submit().result() if submitted else child()
        return sorted(of_child())

    for submitted in (False, True):
        with tags("outer"):
            assert parent(submitted) == ["block", "child", "outer", "parent"]
    child()
    assert of_child() == ("child",)


def test_tags_are_those_of_the_moment_of_the_submit(beside: str, gates: Callable[[str], Gate]) -> None:
    waiting = task(gates("now").pass_through).submit()
    with tags("then"):
        future = of_task.submit(1, wait_for=[waiting])
    with tags("now"):
        gates("now").open()
        assert set(future.result()) == {"own", "then"}
