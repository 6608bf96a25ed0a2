"""A resumable run goes on where it stood: what was completed does not run again, whatever the runner."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from anabranch import allow_failure, explain, flow, task
from anabranch import session as sessions
from anabranch.core.errors import CodeChanged, ResumeError
from tests.acceptance.resuming import Ledger, adding, fails


def test_completed_items_do_not_run_again(runner: Any, ran: Ledger) -> None:
    @task
    def square(x: int, plus: int) -> int:
        ran.note(x)
        if x == 5 and not ran.mended:
            raise ValueError("five")
        return x * x + plus

    @flow(resumable=True)
    def main(n: int) -> list[int]:
        found: list[int] = square.map(range(n), plus=1).result()
        return found

    run = fails(main, 8)
    assert ran.take() == [str(x) for x in range(8)]
    ran.mend()
    assert main.resume(run) == [x * x + 1 for x in range(8)]
    assert ran.take() == ["5"]
    records = sessions.current().records
    (map,) = records.maps(run)
    found = {view.index: (view.state, view.attempt) for view in records.items(map.id)}
    assert found == {x: ("Completed", 2 if x == 5 else 1) for x in range(8)}
    assert records.failures(run) == []
    row = records.flow_run(run)
    assert row is not None
    assert (row.state_name, row.attempt, row.token) == ("Completed", 2, 1)


def test_what_reads_completed_items_gets_their_values(runner: Any, ran: Ledger) -> None:
    @task
    def first(x: int) -> list[int]:
        ran.note(f"first {x}")
        return [x, x]

    @task
    def second(xs: list[int]) -> int:
        ran.note(f"second {xs[0]}")
        if xs[0] % 4 == 3 and not ran.mended:
            raise ValueError(xs)
        return sum(xs)

    @task
    def total(xs: list[int], extra: int) -> int:
        ran.note("total")
        return sum(xs) + extra

    @flow(resumable=True)
    def main() -> int:
        a = first.map(range(12))
        b = second.map(a)
        one = first.submit(100)
        two = second.submit(one)
        found: int = total.submit(b, extra=two).result()
        return found + sum(x[0] for x in a.result())

    run = fails(main)
    assert len(ran.take()) == 12 + 12 + 2
    ran.mend()
    assert main.resume(run) == 2 * sum(range(12)) + 200 + sum(range(12))
    assert ran.take() == ["second 11", "second 3", "second 7", "total"]
    with pytest.raises(ResumeError, match="has completed: there is nothing to go on with"):
        main.resume(run)
    session = sessions.current()
    for map in session.records.maps(run):  # what was stored for this is not needed any more
        assert not (Path(session.store.folder) / "blocks" / map.id).exists()  # type: ignore[attr-defined]


def test_a_fused_chain_and_a_reduce(runner: Any, ran: Ledger) -> None:
    @task
    def up(x: int) -> int:
        ran.note("up")
        return x + 1

    @task
    def stop(x: int) -> int:
        if not ran.mended:
            raise ValueError("stop")
        return x

    @flow(resumable=True)
    def main() -> int:
        total = up.map(up.map(range(50))).reduce(lambda a, b: a + b, fan_in=4)
        found: int = stop.submit(total).result()
        return found

    run = fails(main)
    assert len(ran.take()) == 100
    ran.mend()
    assert main.resume(run) == sum(range(50)) + 100
    assert ran.take() == []


def test_an_iterator_is_pulled_again_and_its_completed_items_are_kept(runner: Any, ran: Ledger) -> None:
    @task
    def same(x: int) -> int:
        ran.note(x)
        return x

    @flow(resumable=True)
    def main() -> int:
        def numbers() -> Any:
            for n in range(40):
                if n == 25 and not ran.mended:
                    raise ValueError("the source broke")
                yield n if n != 7 or not ran.mended else 700

        return sum(same.map(numbers()).results())

    run = fails(main)
    assert len(ran.take()) == 25
    ran.mend()
    assert main.resume(run) == sum(range(40)) - 7 + 700
    assert ran.take() == sorted(["700", *(str(n) for n in range(25, 40))])  # the seventh has another input now


def test_a_map_whose_values_nobody_keeps(runner: Any, ran: Ledger) -> None:
    @task
    def write(x: int) -> None:
        ran.note(x)
        if x == 3 and not ran.mended:
            raise OSError("full")

    @flow(resumable=True)
    def main() -> str:
        write.map(range(6), keep="none").wait()
        return "written" if ran.mended else write.submit(3).result()

    run = fails(main)
    ran.take()
    ran.mend()
    assert main.resume(run) == "written"
    assert ran.take() == ["3"]


def test_calls_are_kept_as_they_were(runner: Any, ran: Ledger) -> None:
    @task
    def load(name: str) -> dict[str, list[int]]:
        ran.note(name)
        return {"rows": [1, 2]}

    @flow(resumable=True)
    def main() -> int:
        found = load("a")
        again = load("a")  # the same call a second time: another run
        found["rows"].append(3)
        if not ran.mended:
            raise ValueError("not yet")
        return len(found["rows"]) + len(again["rows"])

    run = fails(main)
    assert ran.take() == ["a", "a"]
    before = _stored(run)
    ran.mend()
    assert main.resume(run) == 5
    assert ran.take() == []
    assert len(before) == 2
    assert _stored(run) == before, "the new driver's calls are recorded to lie where the old ones do"


def _stored(run: str) -> set[tuple[str, Any]]:
    """Blocks and places in them that hold the values of a run's calls, of its last driver."""
    records = sessions.current().records
    records.flush(10.0)
    rows = [row for row in records.maps(run) if row.kind == "call" and not row.superseded]
    return {(one.name, place) for row in rows for one in records.stored(row.id) for place in one.slots}


def test_a_subflow_keeps_what_its_tasks_have_made(runner: Any, ran: Ledger) -> None:
    @task
    def work(x: int) -> int:
        ran.note(x)
        return x * 10

    @flow
    def part(n: int) -> int:
        return sum(work.map(range(n)).result())

    @flow(resumable=True)
    def main() -> int:
        found = part(3) + part(3)
        if not ran.mended:
            raise ValueError("not yet")
        return found

    run = fails(main)
    assert len(ran.take()) == 6
    ran.mend()
    assert main.resume(run) == 60
    assert ran.take() == []
    records = sessions.current().records
    parts = [row for row in records.flow_runs(flow="part") if row.parent_run == run]
    assert [row.attempt for row in parts] == [2, 2]


def test_what_a_task_submits_is_kept_when_the_task_runs_again(runner: Any, ran: Ledger) -> None:
    @task
    def leaf(x: int) -> int:
        ran.note(f"leaf {x}")
        return x

    @task
    def branch(x: int) -> int:
        ran.note(f"branch {x}")
        found = sum(leaf.map([x, x + 1]).result()) + leaf.submit(x + 10).result()
        if x == 2 and not ran.mended:
            raise ValueError("two")
        return found

    @flow(resumable=True)
    def main() -> list[int]:
        found: list[int] = branch.map([0, 2]).result()
        return found

    run = fails(main)
    assert len(ran.take()) == 2 + 6
    ran.mend()
    assert main.resume(run) == [11, 17]
    assert ran.take() == ["branch 2"]


def test_a_result_that_comes_of_a_failure_is_made_anew(runner: Any, ran: Ledger) -> None:
    @task
    def shaky(x: int) -> int:
        if x == 1 and not ran.mended:
            raise ValueError("one")
        return x

    @task
    def count(xs: Any) -> int:
        ran.note("count")
        return sum(isinstance(x, int) for x in xs)

    @flow(resumable=True)
    def main() -> int:
        found: int = count.submit(allow_failure(shaky.map(range(3)))).result()
        if not ran.mended:
            raise ValueError(found)
        return found

    run = fails(main)
    ran.take()
    ran.mend()
    assert main.resume(run) == 3
    assert ran.take() == ["count"]


def test_what_ran_again_and_completed_is_no_failure_any_more(runner: Any, ran: Ledger) -> None:
    @task
    def shaky(x: int) -> int:
        if not ran.mended:
            raise ValueError("not yet")
        return x

    @task
    def after(x: int) -> int:
        return x

    @flow(resumable=True)
    def main() -> int:
        found: int = after.submit(shaky.submit(7)).result()
        return found

    run = fails(main)
    records = sessions.current().records
    assert [(group[0], group[3]) for group in records.failures(run)] == [("after", 1), ("shaky", 1)]
    assert len(explain(run).groups) == 2
    ran.mend()
    assert main.resume(run) == 7
    assert records.failures(run) == []
    assert str(explain(run)) == "no task run has failed, was retried or was cancelled"


def test_a_flow_that_retries_keeps_what_it_has(runner: Any, ran: Ledger) -> None:
    @task
    def work(x: int) -> int:
        ran.note(x)
        if x == 2 and not ran.mended:
            ran.mend()
            raise ValueError("two")
        return x

    @flow(retries=1)
    def main() -> int:
        return sum(work.map(range(5)).result())

    assert main() == 10
    assert ran.take() == sorted([*"01234", "2"])


def test_code_that_has_changed_is_asked_about(runner: Any, ran: Ledger) -> None:
    def old(x: int) -> int:
        ran.note(f"old {x}")
        return x

    def new(x: int) -> int:
        ran.note(f"new {x}")
        return -x

    @flow(resumable=True)
    def main() -> list[int]:
        made = task(new if ran.mended else old, name="made")
        found = [*made.map(range(3)).result(), made.submit(9).result()]
        if not (ran.folder / "end").exists():
            raise ValueError("not yet")
        return found

    run = fails(main)
    ran.take()
    ran.mend()
    with pytest.raises(CodeChanged, match="task 'made' has changed"):
        main.resume(run)
    with pytest.raises(CodeChanged):  # the refused attempt has not made it the code of record
        main.resume(run)
    assert ran.take() == []
    with pytest.raises(ValueError, match="not yet"):
        main.resume(run, changed="rerun")
    assert len(ran.take()) == 4
    (ran.folder / "end").touch()
    assert main.resume(run) == [0, -1, -2, -9]  # what the old code made is not looked at any more
    assert ran.take() == []
    with pytest.raises(ResumeError, match="'ask', 'keep' or 'rerun'"):
        main.resume(run, changed="maybe")


def test_code_that_has_changed_may_be_kept(runner: Any, ran: Ledger) -> None:
    @flow(resumable=True)
    def main() -> int:
        made = task(len if ran.mended else (lambda x: 7), name="made")
        found: int = made.submit("abc").result()
        if not ran.mended:
            raise ValueError("not yet")
        return found

    run = fails(main)
    ran.mend()
    assert main.resume(run, changed="keep") == 7


def test_a_lost_block_means_that_its_items_run_again(runner: Any, ran: Ledger) -> None:
    main = adding(ran, 20, chunk=5)
    run = fails(main)
    ran.take()
    ran.mend()
    session = sessions.current()
    (map,) = session.records.maps(run)
    row = session.records.stored(map.id)[0]
    (Path(session.store.folder) / row.name).unlink()  # type: ignore[attr-defined]
    assert main.resume(run) == sum(range(20))
    assert ran.take() == sorted(str(x) for x in row.items)


def test_values_and_inputs_that_cannot_be_stored_do_not_stand_in_the_way(threads: Any, ran: Ledger) -> None:
    """On threads alone: what cannot be pickled reaches no other process."""

    @task
    def lock() -> Any:
        ran.note("lock")
        return threading.Lock()

    @task
    def use(held: Any, x: int) -> int:
        ran.note("use")
        with held:
            return x

    @flow(resumable=True)
    def main() -> int:
        made = lock.submit()
        found: int = use.submit(made, 1).result() + use.submit(threading.Lock(), 2).result()
        if not ran.mended:
            raise ValueError("not yet")
        return found

    run = fails(main)
    assert ran.take() == ["lock", "use", "use"]
    ran.mend()
    assert main.resume(run) == 3
    assert ran.take() == ["lock", "use"]  # the lock, and whoever was called with one; the lock's first reader not


