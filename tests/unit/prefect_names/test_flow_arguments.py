"""What `load_flow_arguments_from_entrypoint` reads of a flow's decorator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.compat.prefect.entrypoints import load_flow_arguments_from_entrypoint

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = """
from pathlib import Path
file = Path(__file__).with_name("executions")
done = file.write_text((file.read_text() if file.exists() else "") + "x")
NAME = "two"

@flow(name=NAME, retries=1 + 1, log_prints=missing, description="of " + NAME)
def given(): ...

@flow
def plain(): ...
"""


def test_the_file_is_executed_once_whatever_is_given(tmp_path: Path) -> None:
    script = tmp_path / "flows.py"
    script.write_text(COUNTS)
    found = load_flow_arguments_from_entrypoint(f"{script}:given")
    assert found == {"name": "two", "retries": "2", "description": "of two"}
    assert (tmp_path / "executions").read_text() == "x"


def test_a_file_whose_decorator_gives_nothing_is_not_executed(tmp_path: Path) -> None:
    script = tmp_path / "flows.py"
    script.write_text(COUNTS)
    assert load_flow_arguments_from_entrypoint(f"{script}:plain") == {"name": "plain"}
    assert load_flow_arguments_from_entrypoint(f"{script}:given", ["version"]) == {}
    assert not (tmp_path / "executions").exists()
