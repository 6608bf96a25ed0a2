"""What is stored, and what happens when the store cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch import ThreadRunner, cache_policies, flow, settings, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[sessions.Session]:
    chosen = settings.load({}, home=tmp_path, runner=ThreadRunner(max_workers=1), progress=False)
    made = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(made)
    yield made
    sessions.use(before)
    made.close()


def stored(session: sessions.Session) -> list[Path]:
    return [f for f in session.settings.results_path.rglob("*") if f.is_file() and f.stat().st_size]


def test_values_are_stored_though_they_are_not_cached(session: sessions.Session) -> None:
    @task(persist_result=True, cache_policy=cache_policies.NO_CACHE)
    def work(x: int) -> int:
        return x

    @flow
    def main() -> object:
        return work.map([1, 2], chunk=2), work(3)

    assert main() == ([1, 2], 3)
    assert [path.suffix for path in sorted(stored(session))] in ([".value", ".block"], [".block", ".value"])


def test_a_stored_value_that_is_damaged_is_a_miss(
    session: sessions.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[int] = []

    @task(cache_key_fn=lambda *_: "same")
    def work() -> int:
        runs.append(1)
        return 7

    @flow
    def main() -> int:
        return int(work.submit().result())

    assert main() == main() == 7
    assert runs == [1]
    for path in stored(session):
        path.write_bytes(b"no value at all" * 10)
    assert main() == 7
    assert runs == [1, 1]
