"""Which stream a run draws from: its place among other runs, what drawing costs, and where it is refused."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from anabranch import context, flow, replay, task
from anabranch import session as sessions
from anabranch.core import draws
from anabranch.core.errors import MissingContextError, MissingExtraError, OptionError
from tests.acceptance.draws import SEED, Numbers, drawn, expected

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_call_goes_on_and_maps_are_told_apart(runner: Any) -> None:
    @task(seed=SEED)
    def draw(x: int) -> tuple[bool, float, float]:
        return context.rng() is context.rng(), float(context.rng().random()), float(context.rng().random())

    @flow
    def main() -> list[Any]:
        return [draw.map(range(2)).result() for _ in range(2)]

    found = main()
    assert all(same for one in found for same, *_ in one)
    assert len({number for one in found for _, *numbers in one for number in numbers}) == 8


def test_a_seed_for_one_map_is_for_that_map_alone(runner: Any) -> None:
    @task(seed=1)
    def draw(x: int) -> Numbers:
        return drawn()

    @flow
    def main() -> tuple[list[Numbers], ...]:
        return tuple(draw.map(range(2), **how).result() for how in ({}, {"seed": SEED}, {"seed": SEED}, {}))

    first, own, again, second = main()
    assert own == again == [expected(SEED, ("draw", "map"), x) for x in range(2)]
    assert first + second == [expected(1, ("draw", "map", n), x) for n in range(2) for x in range(2)]


def test_what_an_attempt_submits_draws_what_it_drew_in_the_attempt_before(runner: Any) -> None:
    @task
    def draw(x: int) -> float:
        return context.rng("random").random()

    @flow
    def below() -> list[float]:
        return draw.map([1]).result()

    @task(retries=1)
    def around(x: int, fails: bool) -> list[Any]:
        found = [draw.map([1, 2]).result(), draw.submit(1).result(), draw.submit(2).result(), below()]
        if fails and context.task_run().attempt == 1:
            raise ValueError("once")
        return found

    @flow(seed=SEED)
    def main(fails: bool) -> list[Any]:
        return around.map([1, 2], fails=fails, chunk=1).result()

    assert main(True) == main(False)


def test_a_parameter_called_seed_is_the_tasks_own(threads: str) -> None:
    @task
    def own(x: int, seed: int) -> int:
        return x + seed

    assert own.map([1, 2], seed=[10, 20]).result() == [11, 22]


def test_a_call_inside_a_task_draws_from_that_task_unless_it_has_a_seed(runner: Any) -> None:
    @task
    def plain() -> float:
        return float(context.rng().random())

    @task(seed=5)
    def seeded() -> float:
        return float(context.rng().random())

    @task
    def outer(x: int) -> list[float]:
        return [float(context.rng().random()), plain(), plain(), seeded(), seeded()]

    @flow(seed=SEED)
    def main() -> list[list[float]]:
        found: list[list[float]] = outer.map(range(2), chunk=2).result()
        return found

    found = main()
    assert found == main()
    assert len({number for one in found for number in one}) == 10
    if runner != "inline" and runner != "thread":  # calls in the driver's process are runs of their own
        return
    assert found[0][0] == expected(SEED, ("outer", "map", 0), 0)[0]


def test_what_tasks_submit_draws_by_its_place(runner: Any) -> None:
    @task
    def inner(x: int) -> Numbers:
        return drawn()

    @task
    def outer(x: int) -> list[Numbers]:
        return [*inner.map(range(2)).result(), inner.submit(0).result()]

    @flow(seed=SEED)
    def main() -> list[list[Numbers]]:
        found: list[list[Numbers]] = outer.map(range(2), chunk=1).result()
        return found

    def inside(x: int) -> list[Numbers]:
        place = ("outer", "map", 0, x, "inner")
        singly = expected(SEED, (*place, "submit", 0), 0)
        return [*(expected(SEED, (*place, "map", 0), at) for at in range(2)), singly]

    assert main() == [inside(0), inside(1)]


def test_subflows_draw_by_their_place(runner: Any) -> None:
    @task
    def draw(x: int) -> Numbers:
        return drawn()

    @flow
    def sub() -> list[Numbers]:
        found: list[Numbers] = draw.map(range(2)).result()
        return found

    @flow(seed=SEED)
    def main() -> list[list[Numbers]]:
        return [sub(), sub()]

    assert main() == [[expected(SEED, ("sub", "flow", n, "draw", "map", 0), x) for x in range(2)] for n in range(2)]


def test_async_items_on_one_loop_have_streams_of_their_own(runner: Any) -> None:
    @task(seed=SEED)
    async def draw(x: int) -> Numbers:
        first = float(context.rng().random())
        await asyncio.sleep(0)
        return first, context.rng("random").random(), context.random_state()

    @flow
    def main() -> list[Numbers]:
        found: list[Numbers] = draw.map(range(6), chunk=3).result()
        return found

    assert main() == [expected(SEED, ("draw", "map", 0), x) for x in range(6)]


STEP = 0


@task(seed=SEED)
def draw_at_step() -> tuple[int, float]:
    return STEP, context.rng("random").random()


def test_single_runs_go_on_counting_when_their_code_has_changed(
    concurrent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow
    def main() -> list[tuple[int, float]]:
        found = []
        for step in range(3):
            monkeypatch.setattr(sys.modules[__name__], "STEP", step)
            found.append(draw_at_step.submit().result())
        return found

    assert main() == [(n, expected(SEED, ("draw_at_step", "submit", 0), n)[1]) for n in range(3)]


def test_threads_of_a_task_are_told_to_take_generators_along(runner: Any) -> None:
    @task(seed=SEED)
    def draw() -> tuple[str, list[float]]:
        found: list[Any] = []

        def refused() -> None:
            try:
                context.rng()
            except MissingContextError as error:
                found.append(str(error))

        mine = context.rng().spawn(2)
        threads = [threading.Thread(target=refused), threading.Thread(target=context.carried(refused))]
        for thread in threads:
            thread.start()
            thread.join()
        assert found[0] == found[1]
        return found[0], [float(one.random()) for one in mine]

    @flow
    def main() -> tuple[str, list[float]]:
        found: tuple[str, list[float]] = draw.submit().result()
        return found

    said, numbers = main()
    assert "context.rng().spawn(n)" in said
    assert numbers == main()[1]


@pytest.mark.parametrize("seed", [SEED, None])
def test_a_replay_draws_what_the_failed_run_drew(runner: Any, tmp_path: Path, seed: int | None) -> None:
    mended = tmp_path / "mended"

    @task
    def draw(x: int) -> Numbers:
        found = drawn()
        if x == 3 and not mended.exists():
            (tmp_path / "drew").write_text(repr(found))
            raise ValueError(x)
        return found

    @flow
    def inner() -> None:
        draw.map(range(5), chunk=2).result()

    @flow(resumable=True, seed=seed)
    def main() -> None:
        inner()

    run = main(return_state=True).run_id
    mended.touch()
    records = sessions.current().records
    (below,) = [row.id for row in records.flow_runs() if row.parent_run == run]
    assert repr(replay(below, "draw[3]")) == (tmp_path / "drew").read_text()


# -- what it costs, and what it refuses ----------------------------------------------------------------


def test_a_map_that_draws_nothing_makes_no_stream_and_no_seed(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    init, digest = draws.Streams.__init__, hashlib.blake2b

    def streams(self: draws.Streams, *args: Any) -> None:
        made.append("streams")
        init(self, *args)

    def number(*args: Any, **kwargs: Any) -> Any:
        made.append("digest")
        return digest(*args, **kwargs)

    monkeypatch.setattr(draws.Streams, "__init__", streams)
    monkeypatch.setattr(draws.hashlib, "blake2b", number)

    @task
    def work(x: int) -> int:
        return context.random_state() if x < 0 else x

    @flow(seed=SEED, runner="inline")
    def main(xs: list[int]) -> list[int]:
        found: list[int] = work.map(xs, chunk=10).result()
        return found

    main(list(range(1000)))
    assert made == []
    main([-1, 1, -1])
    assert made == ["streams", "digest", "digest"] * 2


def test_without_numpy_there_are_other_generators(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def draw(kind: Any) -> float:
        return float(context.rng(kind).random())

    with_numpy = draw.map(["random"], seed=SEED).result()
    for name in ("numpy", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    assert draw.map(["random"], seed=SEED).result() == with_numpy
    for kind in ("numpy", "torch"):
        error = draw.submit(kind).exception()
        assert isinstance(error, MissingExtraError), error
        assert "pip install" in str(error)


def test_numbers_outside_of_flows_come_from_one_seed_that_is_told_once(
    fresh_session: sessions.Session, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def draw(x: int) -> Numbers:
        return drawn()

    with caplog.at_level("INFO"):
        found = draw.map(range(3)).result() + draw.map(range(3)).result()
        (told,) = [line.getMessage() for line in caplog.records if "seed" in line.getMessage()]
    seed = int(told.split("seed ")[1].split(":")[0])
    assert found == [expected(seed, ("draw", "map", n), x) for n in range(2) for x in range(3)]
    fresh_session.flush_records()


def test_what_is_refused() -> None:
    for seed in (-1, True, 1.5, "7", [1, 2]):
        with pytest.raises(OptionError, match="seed must be a whole number of 0 or more, got"):
            task(seed=seed)(abs)  # type: ignore[arg-type]
    assert task(seed=np.int64(5))(abs).options.seed == 5  # type: ignore[arg-type]
    with pytest.raises(MissingContextError, match="inside a task or a flow"):
        context.rng()
    with pytest.raises(ValueError, match="takes 'numpy', 'random' or 'torch', got 'numpi'"):
        context.rng("numpi")  # type: ignore[call-overload]
