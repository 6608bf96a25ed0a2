"""Long lists over HTTP: in parts that lose and repeat nothing, and never in one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.errors import RecordsError
from anabranch.core.runs import FlowRunRow, ItemBlock, LogRow, MapRow
from anabranch.records import calls, parts
from anabranch.records.remote import RemoteRecords
from anabranch.records.sqlite import SqliteRecords
from tests.servers import served_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.runs import Records

# Times in groups, of which one is longer than a part.
RUNS = [FlowRunRow(f"{n:02}", "etl", f"newt-{n}", states.COMPLETED, "Completed", created=n // 7) for n in range(30)]
LINES = [LogRow(float(n // 7), 20, "a", f"line {n % 3}", "01") for n in range(30)]

LISTS: dict[str, dict[str, object]] = {
    "flow_runs": {},
    "logs": {"flow_run": "01", "level": 0},
    "items": {"map": "m", "first": 0},
}


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Records, Records]]:
    """The record of a server, directly and over HTTP, with 4 rows an answer at most."""
    for module in (calls, parts):
        monkeypatch.setattr(module, "MOST", 4)
    place = tmp_path / "runs.db"
    with SqliteRecords(place) as direct:
        direct.append([*RUNS, MapRow("m", "01", "half", "map", 30), *LINES])
        direct.append([ItemBlock("m", 0, 30)])
        direct.flush()
        with served_records(place) as address, RemoteRecords(address, tmp_path / "home") as remote:
            yield direct, remote


@pytest.mark.parametrize("limit", [0, 1, 4, 5, 8, 29, 30, 31, 1 << 60])
def test_lists_over_http_are_those_of_the_record(both: tuple[Records, Records], limit: int) -> None:
    direct, remote = both
    assert remote.flow_runs(limit=limit) == direct.flow_runs(limit=limit)
    assert remote.logs("01", limit=limit) == direct.logs("01", limit=limit)
    assert remote.items("m", first=2, limit=limit) == direct.items("m", first=2, limit=limit)
    runs, lines, items = remote.flow_runs(limit=limit), remote.logs("01", limit=limit), remote.items("m", limit=limit)
    assert [len(runs), len(lines), len(items)] == [min(limit, 30)] * 3


def test_rows_that_come_between_two_parts_are_not_in_the_list_and_move_nothing(both: tuple[Records, Records]) -> None:
    direct, remote = both
    asked: list[object] = []
    ask = remote._calls  # type: ignore[attr-defined]

    def meanwhile(name: str, **given: object) -> object:
        found = ask(name, **given)
        asked.append(given)
        direct.append([LogRow(100.0 + len(asked), 20, "a", "later", "01")])
        direct.flush()
        return found

    remote._calls = meanwhile  # type: ignore[attr-defined]
    assert remote.logs("01", limit=1 << 60) == LINES
    assert len(asked) > 5


def test_an_answer_has_no_more_rows_than_the_most(both: tuple[Records, Records]) -> None:
    ask = both[1]._calls  # type: ignore[attr-defined]
    for name, about in LISTS.items():
        with pytest.raises(RecordsError, match=f"{name}: there are more than 4 rows.*limit=4"):
            ask(name, limit=1 << 60, **about)
        with pytest.raises(RecordsError, match=f"{name}: limit is to be 0 or more, got -1"):
            ask(name, limit=-1, **about)
    assert ask("flow_runs", limit=1 << 60, flow="other") == []
