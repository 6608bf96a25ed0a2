"""Streams over items that take a second attempt: none is waited for in vain, and values taken are gone, not None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, ThreadRunner, flow, settings, task
from anabranch import session as sessions
from anabranch.core import context
from anabranch.core.errors import ResultReleased
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled(3, "pools of each runner")
ITEMS = 40


@pytest.fixture(params=[ThreadRunner, ProcessRunner])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sessions.Session]:
    chosen = settings.load({}, home=tmp_path, runner=request.param(max_workers=2), progress=False, log_level="CRITICAL")
    here = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(here)
    yield here
    sessions.use(before)
    here.close()


@task(retries=1)
def sometimes(x: int, size: int) -> bytes:
    here = context.current_task.get()
    assert here is not None
    if x % 5 == 3 and here.run.attempt == 1:
        raise ValueError(x)
    return bytes([x]) * size


@task
def first(value: bytes) -> int:
    return value[0]


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_value_that_was_taken_is_released(session: sessions.Session, size: int) -> None:
    @flow
    def main() -> None:
        made = sometimes.map(range(ITEMS), size=size, chunk=4)
        assert [value[0] for value in made.results()] == list(range(ITEMS))
        for future in made:
            with pytest.raises(ResultReleased):
                future.result()

    main()


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_value_that_was_taken_is_read_from_the_store(session: sessions.Session, size: int) -> None:
    @flow(resumable=True)
    def main() -> Any:
        made = sometimes.map(range(ITEMS), size=size, chunk=4)
        made.wait()
        assert [value[0] for value in made.results()] == list(range(ITEMS))
        return first.map(made).result()

    assert main() == list(range(ITEMS))


def test_a_stream_lets_go_of_blocks_with_items_done_again(session: sessions.Session) -> None:
    @flow
    def main() -> int:
        made = sometimes.map(range(ITEMS), size=1, chunk=4)
        assert len(list(made.results())) == ITEMS
        return made.bytes_held

    assert main() == 0


@task(retries=1, retry_delay_seconds=0.1)
def late(x: int) -> int:
    here = context.current_task.get()
    assert here is not None
    if x == 0 and here.run.attempt == 1:
        raise ValueError(x)
    return x


def test_the_item_that_the_reader_waits_for_is_not_held_back(session: sessions.Session) -> None:
    """While it waited for its retry the window was filled with others."""

    @flow
    def main() -> list[int]:
        return list(late.map(range(200), window=4, chunk=1).results())

    assert main() == list(range(200))


def test_items_kept_from_an_earlier_driver_do_not_fill_the_window(session: sessions.Session, tmp_path: Path) -> None:
    mended = tmp_path / "mended"

    @task
    def work(x: int) -> int:
        if x % 10 == 0 and not mended.exists():
            raise ValueError(x)
        return x

    @flow(resumable=True)
    def main() -> list[int]:
        made = work.map(range(300), window=8)
        made.wait() if not mended.exists() else None
        return list(made.results())

    state = main(return_state=True)
    assert state.is_failed()
    mended.touch()
    assert main.resume(state.run_id) == list(range(300))
