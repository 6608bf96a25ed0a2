"""Large arrays are stored and read back without another copy of them in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sampled(4, "arrays of many MiB for each")
REPOSITORY = Path(__file__).resolve().parents[2]
CODE = """
import gc, json, sys
import numpy
from anabranch.results.disk import DiskStore
from anabranch.results.remote import RemoteStore

kind, where = sys.argv[1:3]
SIZE = int(sys.argv[3])

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))

def peak(act):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark begins anew
    before = memory("VmRSS")
    value = act()
    return value, (memory("VmHWM") - before) / SIZE

numbers = numpy.random.default_rng(0).random(SIZE // 8)
if kind == "pandas":
    import pandas
    value = pandas.DataFrame(numbers.reshape(-1, 10), copy=False)
elif kind == "arrow":
    import pyarrow
    value = pyarrow.table({"left": numbers[: len(numbers) // 2], "right": numbers[len(numbers) // 2 :]})
else:
    value = numbers
store = RemoteStore(where) if "://" in where else DiskStore(where)
store.write("small", numpy.zeros(5000))  # what is imported at first use does not count
assert store.read("small") is not None
_, writing = peak(lambda: store.write("large", value))
found, reading = peak(lambda: store.read("large").value)
same = found.equals(value) if kind != "numpy" else bool((found == value).all())
print(json.dumps([writing, reading, same]))
"""


def measured(kind: str, where: str, size: int) -> list[Any]:
    """Memory beside the array while it is written, and with the array read back, in sizes of the array."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, kind, where, str(size)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="there is no /proc here")


@needs_proc
@pytest.mark.parametrize(("kind", "package"), [("numpy", "numpy"), ("pandas", "pandas"), ("arrow", "pyarrow")])
def test_an_array_on_disk_is_not_copied(kind: str, package: str, tmp_path: Path) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    writing, reading, same = measured(kind, str(tmp_path / "store"), 200_000_000)
    assert same
    assert writing <= 0.2, f"{writing:.2f} times the array beside it while it was written"
    assert reading <= 1.2, f"{reading:.2f} times the array to read it"


@needs_proc
@pytest.mark.s3
def test_an_array_at_an_address_is_copied_in_pieces(s3_address: str) -> None:
    writing, reading, same = measured("numpy", s3_address, 100_000_000)
    assert same
    assert writing <= 0.6, f"{writing:.2f} times the array beside it while it was written"
    assert reading <= 1.5, f"{reading:.2f} times the array to read it"
