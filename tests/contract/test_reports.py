"""The report of a run, whatever keeps its record: the same figures, and nothing is unpickled for it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, NoReturn

import pytest

from anabranch import flow, settings, task
from anabranch import session as sessions
from anabranch.core.clock import SYSTEM
from anabranch.display import run_cards, run_report
from anabranch.display.run_figures import gather
from anabranch.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.runs import Records



@task(retries=1)
def halve(x: int) -> int:
    if x % 50 == 7:
        raise ValueError(f"{x} is odd")
    return x // 2


@task
def total(xs: list[int]) -> int:
    return len(xs)


@flow(runner="thread")
def halves(n: int) -> int:
    good = [future for future in halve.map(range(n)) if future.state.is_completed() or future.wait().is_completed()]
    return total.submit(good).result()


@pytest.fixture
def ran(records: Records, tmp_path: Path) -> Iterator[Records]:
    """A record with one run."""
    session = Session(settings.load({}, home=tmp_path, progress=False), records=records)
    before = sessions.use(session)
    try:
        assert halves(1000, return_state=True).is_completed()
        assert records.flush(20.0)
        yield records
    finally:
        sessions.use(before)
        session.close()


def test_a_report_shows_the_run(ran: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("a report unpickles nothing")

    monkeypatch.setattr(pickle, "loads", refused)
    monkeypatch.setattr(pickle, "load", refused)
    found = gather(ran, ran.flow_runs()[0], SYSTEM.time())
    page, card = run_report.page(found), run_cards.html(found)
    first = found.maps[0]
    assert (first.label, first.again, sum(first.counts)) == ("halve", 20, 1000)
    assert first.counts[6] == 20
    [total] = [node for node in found.graph if node.id != first.row.id]
    assert total.upstreams == (first.row.id,), "what it reads is in the record"
    assert found.slots > 0
    assert sum(share.part for share in found.shares) == pytest.approx(1.0, abs=0.05)
    assert [group.count for group, _ in found.failures] == [20]
    assert "is odd" in found.failures[0][1]
    for text in (page, card):
        assert "980 completed, 20 failed" in text
        assert "ValueError" in text
