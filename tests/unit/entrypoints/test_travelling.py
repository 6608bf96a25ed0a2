"""What travels with a flow's file: what it imports of its folder, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import LaunchError
from anabranch.entrypoints.travelling import files_of

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "survey.py": "import json, rivers.gauges\nfrom anabranch import flow\ndef f():\n    import lazy\n",
    "rivers/__init__.py": "from . import gauges\n",
    "rivers/gauges.py": "import units\n",
    "rivers/deep/er.py": "",
    "rivers/table.csv": "1,2\n",
    "rivers/old.py": "print 'for another Python'\n",
    "units.py": "import survey\n",  # a ring
    "lazy.py": "",
    "spaces/one.py": "",
    "unused.py": "",
    "anabranch/__init__.py": "",
}


def written(folder: Path, **more: str) -> Path:
    for path, text in {**FILES, **more}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder / "survey.py"


def test_modules_of_the_folder_that_are_imported_travel_and_packages_whole(tmp_path: Path) -> None:
    assert set(files_of(written(tmp_path))) == {
        "survey.py", "units.py", "lazy.py", "rivers/__init__.py", "rivers/gauges.py", "rivers/deep/er.py",
        "rivers/old.py",
    }  # fmt: skip


def test_a_package_goes_before_a_module_of_its_name_and_one_without_init_after(tmp_path: Path) -> None:
    file = written(tmp_path, **{"survey.py": "import rivers\nfrom spaces import one\nimport units\n", "rivers.py": "",
                                "units/data.txt": "x"})  # fmt: skip
    found = set(files_of(file))
    assert "rivers.py" not in found
    assert {"rivers/__init__.py", "spaces/one.py", "units.py"} <= found


def test_the_texts_are_those_of_the_files_and_one_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert files_of(file)["rivers/gauges.py"] == "import units\n"
    (tmp_path / "units.py").write_bytes(b"\xff\xfe")
    with pytest.raises(LaunchError, match=r"units\.py cannot be read"):
        files_of(file)
