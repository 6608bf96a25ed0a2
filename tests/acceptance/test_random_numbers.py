"""The numbers of a run depend on its seed and its place alone: not on runner, chunks, attempt or worker."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
import pytest

from anabranch import context, flow, task
from anabranch import session as sessions
from anabranch.core import draws
from tests.acceptance.draws import SEED, Numbers, drawn, expected
from tests.acceptance.resuming import Ledger, fails

N = 30


def test_the_numbers_are_the_same_on_every_runner_and_for_every_chunk(runner: Any) -> None:
    @task
    def draw(x: int) -> Numbers:
        return drawn()

    @flow(seed=SEED)
    def main() -> list[list[Numbers]]:
        found = [draw.map(range(N), chunk=chunk).result() for chunk in (1, 7, "auto")]
        return [*found, [draw.submit(x).result() for x in range(3)], [draw(0)]]

    found = main()
    for number, one in enumerate(found[:3]):
        assert one == [expected(SEED, ("draw", "map", number), x) for x in range(N)]
    assert found[3] == [expected(SEED, ("draw", "submit", 0), x) for x in range(3)]
    assert found[4] == [expected(SEED, ("draw", "call", 0), 0)]
    assert len({n for one in found for numbers in one for n in numbers}) == 3 * (3 * N + 4)


def test_the_streams_of_items_are_those_that_numpy_spawns() -> None:
    source = draws.Source(SEED, ("draw", "map", 0))
    digest = hashlib.blake2b(repr(source.path).encode(), digest_size=16).digest()
    words = tuple(int.from_bytes(digest[at : at + 4], "big") for at in (0, 4, 8, 12))
    spawned = np.random.SeedSequence(SEED, spawn_key=(*words, draws.NUMPY)).spawn(5)
    for index, sequence in enumerate(spawned):
        ours = draws.Streams(source, index, None, lambda: SEED).numpy
        assert ours.random(3).tolist() == np.random.default_rng(sequence).random(3).tolist()


def test_a_seed_that_is_made_is_recorded_and_repeats_the_run(runner: Any) -> None:
    @task
    def draw(x: int) -> Numbers:
        return drawn()

    @flow
    def main() -> tuple[list[Numbers], int]:
        return draw.map(range(9), chunk=2).result(), context.seed()

    state = main(return_state=True)
    numbers, seed = state.result()
    (row,) = sessions.current().records.stored(state.run_id, "seed")
    assert int(row.name) == seed > 1 << 64
    assert main.with_options(seed=seed)() == (numbers, seed)
    assert main()[0] != numbers


def test_a_seed_that_nobody_asks_for_is_not_made(runner: Any) -> None:
    @flow
    def main() -> list[int]:
        found: list[int] = task(abs).map(range(5)).result()
        return found

    state = main(return_state=True)
    assert sessions.current().records.stored(state.run_id, "seed") == []


def test_every_attempt_draws_the_same(runner: Any, ran: Ledger) -> None:
    @task(retries=1, seed=SEED)
    def draw(x: int) -> Numbers:
        found = drawn()
        ran.note((x, found))
        if x == 2 and not ran.mended:
            ran.mend()
            raise ValueError("again")
        return found

    @flow
    def main() -> list[Numbers]:
        found: list[Numbers] = draw.map(range(4), chunk=4).result()
        return found

    numbers = [expected(SEED, ("draw", "map", 0), x) for x in range(4)]
    assert main() == numbers
    assert ran.take().count(str((2, numbers[2]))) == 2


@pytest.mark.parametrize("chunk", [1, 5])
def test_work_of_a_killed_worker_draws_the_same_again(apart: str, ran: Ledger, chunk: int) -> None:
    @task(seed=SEED)
    def draw(x: int) -> Numbers:
        found = drawn()
        ran.note((x, found))
        if x == 7 and not ran.mended:
            ran.mend()
            os._exit(1)
        return found

    @flow
    def main() -> list[Numbers]:
        found: list[Numbers] = draw.map(range(15), chunk=chunk).result()
        return found

    numbers = [expected(SEED, ("draw", "map", 0), x) for x in range(15)]
    assert main() == numbers
    assert ran.take().count(str((7, numbers[7]))) == 2


@pytest.mark.parametrize("seed", [SEED, None])
def test_a_resumed_run_draws_as_if_it_had_not_stopped(runner: Any, ran: Ledger, seed: int | None) -> None:
    @task
    def draw(x: int) -> Numbers:
        ran.note(x)
        if x >= 6 and not ran.mended:
            raise ValueError("not yet")
        return drawn()

    @flow(resumable=True, seed=seed)
    def main() -> tuple[list[Numbers], list[Numbers]]:
        return draw.map(range(12), chunk=3).result(), draw.map(range(3)).result()

    run = fails(main)
    ran.take()
    ran.mend()
    first, second = main.resume(run)
    assert sorted(ran.take()) == sorted(map(str, [*range(6, 12), *range(3)]))
    (row,) = sessions.current().records.stored(run, "seed")
    used = int(row.name)
    assert seed in (None, used)
    assert first == [expected(used, ("draw", "map", 0), x) for x in range(12)]
    assert second == [expected(used, ("draw", "map", 1), x) for x in range(3)]


def test_a_flow_that_is_tried_again_draws_the_same(concurrent: str, ran: Ledger) -> None:
    @task(persist_result=False)
    def draw(x: int) -> Numbers:
        return drawn()

    @flow(seed=SEED, retries=1)
    def main() -> tuple[list[Numbers], float]:
        found = draw.map(range(3)).result(), float(context.rng().random())
        ran.note(found)
        if not ran.mended:
            ran.mend()
            raise ValueError("again")
        return found

    found = main()
    assert ran.take() == [str(found)] * 2


@pytest.mark.sampled(2, "scikit-learn in each worker")
@pytest.mark.timeout(300)  # scikit-learn takes long to load on a busy machine
def test_a_model_fitted_in_parallel_inside_a_task_is_the_same(concurrent: str) -> None:
    import sklearn.ensemble  # noqa: F401  # once, before threads load it together

    @task(seed=SEED)
    def fit(jobs: int) -> list[float]:
        from sklearn.ensemble import RandomForestRegressor

        rng = context.rng()
        features, wanted = rng.random((60, 4)), rng.random(60)
        model = RandomForestRegressor(n_estimators=8, n_jobs=jobs, random_state=context.random_state())
        model.fit(features, wanted).set_params(n_jobs=1)  # predicting in threads, it adds up in any order
        found: list[float] = model.predict(features[:5]).tolist()
        return found

    assert fit.map([1, 1], seed=3).result() == fit.map([2, 2], seed=3).result()
    apart, again = fit.map([2, 2], seed=4).result()
    assert apart != again
