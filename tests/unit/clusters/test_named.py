"""What a cluster with a name has left to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("distributed")

from anabranch.clusters import named

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("job", "found"),
    [
        ("12", ["12.log"]),
        ("4123", ["4123.log"]),
        ("77", ["fit.o77"]),
        ("77.server.org", ["fit.o77"]),  # as PBS has it
        ("fit-1", ["fit-1.log"]),  # of a local cluster
        ("fit", []),
        ("23", []),
        ("holder", []),
        (None, ["12.log", "4123.log", "fit-1.log", "fit.o77", "holder.log"]),
    ],
)
def test_the_log_of_one_job_is_that_of_no_other(tmp_path: Path, job: str | None, found: list[str]) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("logs/12.log", "logs/4123.log", "logs/fit.o77", "logs/fit-1.log", "holder.log"):
        (tmp_path / name).touch()
    assert [path.name for path in named.logs(tmp_path, job)] == found
