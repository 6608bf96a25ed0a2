"""What an agent of these settings is: its kind, where its jobs find the record, what it shows of them."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.agents.job import OVER, VARIABLES
from anabranch.agents.words import Seen, Started
from anabranch.core.errors import DeploymentError, ServiceError
from anabranch.core.ids import Ids
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.orders import Pool
from anabranch.documents.document import Document
from anabranch.serving.agent import KEPT, place_of, sweep
from anabranch.serving.echo import Echo
from anabranch.serving.kinds import KINDS, check_variables, kind_of, launcher_of
from anabranch.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

DONE = Sight(Phase.ENDED, "", 0)


def test_every_kind_has_a_launcher_of_its_name_and_variables() -> None:
    assert {name: launcher_of(name).kind for name in KINDS} == {name: name for name in KINDS}
    assert set(KINDS) == set(VARIABLES)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ServiceError, match="no agents of kind 'proces'; did you mean 'process'"):
        kind_of("proces")


def test_jobs_find_the_record_that_this_program_has(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert place_of(settings).environment == {"ANABRANCH_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    away = replace(settings, records="http://h:4200", results="s3://b", profile="team", log_level="DEBUG")
    environment = place_of(away).environment
    names = ("RECORDS", "RESULTS", "PROFILE", "LOG_LEVEL")
    assert [environment[f"ANABRANCH_{name}"] for name in names] == ["http://h:4200", "s3://b", "team", "DEBUG"]


def test_a_record_in_the_working_folder_is_found_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = place_of(Settings(home=tmp_path, records="mine.db")).environment
    assert environment["ANABRANCH_RECORDS"] == str(tmp_path / "mine.db")


def test_folders_of_ended_jobs_go_after_their_time_and_no_other(tmp_path: Path) -> None:
    now = 1e9 + 2 * KEPT
    folders = {
        "old": f"{Ids().new()}-1", "young": f"{Ids().new()}-1", "running": f"{Ids().new()}-2",
        "submitted": "job-a1b2c3", "queued": f"{Ids().new()}-1", "over": f"{Ids().new()}-1",
    }  # fmt: skip
    for what, name in folders.items():
        (tmp_path / name).mkdir()
        for file in {"running": ("log",), "queued": ("script",), "over": ("log", OVER)}.get(what, ("log", "exit")):
            (tmp_path / name / file).touch()
            os.utime(tmp_path / name / file, (now, now - (0 if what == "young" else 2 * KEPT)))
        os.utime(tmp_path / name, (now, now - 2 * KEPT))
    sweep(tmp_path, now)
    stay = {folders[what] for what in ("young", "running", "submitted", "queued")}
    assert {one.name for one in tmp_path.iterdir()} == stay
    sweep(tmp_path / "none", now)


def test_lines_of_jobs_are_shown_whole_and_once(tmp_path: Path) -> None:
    job = Reference("process", "1", "r-1", str(tmp_path))
    out, log = io.StringIO(), tmp_path / "log"
    echo = Echo(out)
    echo(Started(("r", 1), job))
    echo(Seen({job: Sight(Phase.RUNNING)}))  # no log yet
    written = "one\ntwö\nthree".encode()
    log.write_bytes(written[:7])  # in the middle of a letter
    echo(Seen({job: Sight(Phase.RUNNING)}))
    assert out.getvalue() == "one\n"
    log.write_bytes(written)
    echo(Seen({job: Sight(Phase.RUNNING)}))
    assert out.getvalue() == "one\ntwö\n"
    echo(Seen({job: DONE}))
    assert out.getvalue() == "one\ntwö\nthree\n"
    echo(Seen({job: DONE}))
    assert out.getvalue() == "one\ntwö\nthree\n"


def test_a_line_is_shown_as_far_as_the_terminal_has_its_letters(tmp_path: Path) -> None:
    job = Reference("process", "1", "r-1", str(tmp_path))
    shown = io.BytesIO()
    echo = Echo(io.TextIOWrapper(shown, encoding="latin-1"))
    (tmp_path / "log").write_text("10 → 20 µm\n", encoding="utf-8")
    echo(Started(("r", 1), job))
    echo(Seen({job: DONE}))
    assert shown.getvalue() == "10 ? 20 µm\n".encode("latin-1")


@pytest.mark.parametrize(
    ("pool", "variables", "message"),
    [
        ("default", {"working_dirr": "/"}, r"'f/d': a job of kind 'process' has no variable .* mean 'working_dir'"),
        ("pods", {"imag": "x"}, "'f/d': a job of kind 'kubernetes' has no variable 'imag'; did you mean 'image'"),
        ("default", {"env": 3}, "'f/d': job variable 'env': must be names with values, got 3"),
    ],
)
def test_variables_that_no_job_can_have_are_refused_when_it_is_deployed(
    pool: str, variables: dict[str, Any], message: str
) -> None:
    class Pools:
        def all(self) -> list[Pool]:
            return [Pool("default"), Pool("pods", "kubernetes"), Pool("others", "of another version")]

    service: Any = SimpleNamespace(pools=Pools())
    given = Document("d", "f", work_pool_name=pool, job_variables=variables)
    with pytest.raises(DeploymentError, match=message):
        check_variables(service, given.row())
    given.work_pool_name = "others"
    check_variables(service, given.row())
