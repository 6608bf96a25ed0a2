"""`anabranch records check|compact|export`, and what they find."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch.cli import cli
from anabranch.core import states
from anabranch.core.runs import FlowRunRow, ItemBlock, ItemRow, LogRow, MapRow, StoredRow, TransitionRow
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.sqlite_file import opened
from anabranch.records.union import UnionRecords
from anabranch.results.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anabranch.core.runs import Row

pytestmark = pytest.mark.sampled(4, "thousands of rows for each")
WAIT = 20.0
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    return tmp_path / "records.db"


@pytest.fixture
def invoke(path: Path) -> Callable[..., Any]:
    def call(*args: str, code: int = 0) -> Any:
        found = CliRunner().invoke(cli, ["records", *args])
        assert found.exit_code == code, found.output
        return found

    return call


def rows(id: str, age: float) -> list[Row]:
    when, map = time.time() - age * DAY, f"{id}-map"
    return [
        FlowRunRow(id, "etl", "newt", states.FAILED, created=when, ended=when, parameters='{"n": 1}'),
        MapRow(map, id, "double", "map", 3000, when, when, {"Completed": 2999, "Failed": 1}),
        ItemBlock(map, 0, 2999), ItemRow(map, 2999, 1, states.FAILED, error_type="ValueError", message="bad é"),
        StoredRow(map, "blocks/a", range(4), range(4), b"d" * 48), TransitionRow(id, -1, 1, 9, "Failed", "", when),
        *(LogRow(when, 20, "x", f"line {n} of those that were logged", id) for n in range(3000)),
    ]  # fmt: skip


def write(path: Path, *rows: Row) -> None:
    with SqliteRecords(path) as records:
        records.append(rows)
        assert records.flush(WAIT)


# -- check -----------------------------------------------------------------------------------------


def test_check_finds_nothing(path: Path, invoke: Callable[..., Any]) -> None:
    assert "nothing is wrong" in invoke("check").output
    write(path, *rows("a", 1), MapRow("outside", "", "t", "map", 1), ItemBlock("outside", 0, 1))
    assert "nothing is wrong" in invoke("check").output
    assert json.loads(invoke("check", "--json").output) == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE item_blocks SET data = substr(data, 1, length(data) - 3)", r"blob \d of map a-map: .*damaged"),
        ("UPDATE stored_items SET digests = x'00'", "row 1 of where values of map a-map lie is damaged"),
        ("UPDATE stored_items SET items = x'000102'", "row 1 of where values"),
        ("DELETE FROM flow_runs", "1 maps of no flow run"),
        ("UPDATE items SET map = 'gone'", "1 items of no map"),
        ("UPDATE item_blocks SET map = 'gone'", "1 blobs of no map"),
        ("UPDATE stored_items SET map = 'gone'", "1 rows of stored values of no map or flow run"),
    ],
)
def test_check_finds_what_is_wrong(path: Path, invoke: Callable[..., Any], statement: str, expected: str) -> None:
    write(path, *rows("a", 1))
    with opened(path) as db:
        db.execute(statement)
    found = json.loads(invoke("check", "--json", code=1).output)
    assert len(found) == 1
    assert found[0]["where"] == str(path)
    assert re.search(expected, found[0]["what"])
    assert found[0]["what"] in invoke("check", code=1).output


def test_check_finds_damaged_pages(path: Path, invoke: Callable[..., Any]) -> None:
    write(path, *rows("a", 1))
    size = path.stat().st_size
    with open(path, "r+b") as file:
        for page in range(4096 * 12, size - 4096, 4096 * 3):
            file.seek(page)
            file.write(os.urandom(2000))
    invoke("check", code=1)
    path.write_bytes(b"no database, but long enough to be one " * 100)
    assert "not a database" in invoke("check", code=1).output


# -- compact ---------------------------------------------------------------------------------------


def test_compact_deletes_what_is_old_and_gives_its_space_back(path: Path, invoke: Callable[..., Any]) -> None:
    write(path, *rows("old", 91), *rows("young", 89))
    before = path.stat().st_size
    found = json.loads(invoke("compact", "--json").output)
    assert found == {"before": before, "after": path.stat().st_size, "runs": 1}
    assert found["after"] < 0.7 * before
    assert "0 runs older than 90 days deleted" in invoke("compact").output
    with SqliteRecords(path) as records:
        assert [row.id for row in records.flow_runs()] == ["young"]
        assert len(records.items("young-map", limit=5000)) == 3000


def test_compact_keeps_all_when_told_so(path: Path, invoke: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("ANABRANCH_RETENTION_DAYS", "0")
    write(path, *rows("old", 1000))
    assert "no run is ever too old" in invoke("compact").output
    with SqliteRecords(path) as records:
        assert len(records.flow_runs()) == 1


def test_compact_seals_what_a_dead_driver_left(path: Path, invoke: Callable[..., Any]) -> None:
    records = SqliteRecords(path, commit_interval=0.0)
    for n in range(20):
        records.append([ItemBlock("a-map", n * 100, 100)])
        assert records.flush(WAIT)
    records.close()
    write(path, *rows("a", 1)[:2])
    with opened(path) as db:
        db.execute("UPDATE maps SET ended = 1.0")
    invoke("compact")
    with opened(path) as db:
        assert db.execute("SELECT count(*), min(sealed) FROM item_blocks").fetchone() == (1, 1)


def test_compact_deletes_blocks_of_old_runs_when_asked(path: Path, invoke: Callable[..., Any]) -> None:
    blocks = DiskStore(path.with_name("results")).blocks
    assert blocks is not None
    names = {id: blocks.write(f"{id}-map", [0], ["value"]).name for id in ("old", "older", "young")}
    write(path, *rows("old", 91), *rows("young", 89))

    def left() -> set[str]:
        return {id for id, name in names.items() if blocks.items(name)}

    invoke("compact", "--blocks")
    assert left() == {"older", "young"}
    write(path, *rows("older", 200))
    invoke("compact")
    assert left() == {"older", "young"}


# -- export ----------------------------------------------------------------------------------------


def test_export_writes_everything_as_lines_of_json(path: Path, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    write(path, *rows("a", 1), *rows("b", 2))
    target = tmp_path / "out.jsonl"
    assert "2 runs" in invoke("export", str(target)).output
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    kinds = [line["row"] for line in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "flow_run": 2, "transition": 2, "map": 2, "item": 6000, "stored": 2, "log": 6000,
    }  # fmt: skip
    [run] = [line for line in found if line["row"] == "flow_run" and line["id"] == "a"]
    assert (run["state"], run["parameters"]) == ("Failed", '{"n": 1}')
    items = [line for line in found if line["row"] == "item" and line["map"] == "a-map"]
    [failed] = [line for line in items if line["state"] == "Failed"]
    assert (failed["index"], failed["error_type"], failed["message"]) == (2999, "ValueError", "bad é")
    [stored] = [line for line in found if line["row"] == "stored" and line["map"] == "a-map"]
    assert (stored["name"], stored["items"], stored["digests"]) == ("blocks/a", [0, 1, 2, 3], (b"d" * 48).hex())


def test_export_of_one_run(path: Path, invoke: Callable[..., Any]) -> None:
    assert "nothing was ever recorded" in invoke("export", "-", "a", code=1).output
    write(path, *rows("a", 1), *rows("b", 2))
    out = invoke("export", "-", "b").stdout
    runs = {json.loads(line).get("id") for line in out.splitlines() if '"row": "flow_run"' in line}
    assert runs == {"b"}
    assert "no flow run 'c'" in invoke("export", "-", "c", code=1).output


# -- shared folders --------------------------------------------------------------------------------


def test_commands_on_a_shared_folder(path: Path, invoke: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("ANABRANCH_RECORDS_SHARED", "true")
    folder = path.with_name("records.db.d")
    with UnionRecords(folder) as records:
        records.append(rows("a", 1))
    assert "nothing is wrong" in invoke("check").output
    assert "0 runs older" in invoke("compact").output
    assert '"flow_run"' in invoke("export", "-", "a").stdout
    assert not path.exists()
