"""What `anabranch doctor` says of what it finds: pure checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from anabranch.diagnosis.health import FAIL, GIB, MIB, NOTE, WARN, Found, Place, findings

GOOD = Found(
    versions={"dask": "2026.8.0", "distributed": "2026.8.0", "ray": "2.60.0"},
    home=Place("/home/me/.anabranch", "ext4", free=50 * GIB), results=Place("/home/me/results", "ext4", free=50 * GIB),
    temporary=Place("/tmp", "tmpfs", free=5 * GIB), record="here", shared_memory=2 * GIB, open_files=4096,
    processes=10_000, memory=16 * GIB, cpus=4, machine_cpus=4,
)  # fmt: skip
NFS = Place("/nfs/me", "nfs4", shared=True, free=50 * GIB)


def test_a_good_machine_is_told_nothing() -> None:
    assert findings(GOOD) == []
    assert findings(replace(GOOD, results=None, open_files=0, processes=0, record_kind="address", home=NFS)) == []


@pytest.mark.parametrize(
    ("changed", "level", "said", "remedy"),
    [
        ({"python": (3, 10, 4)}, FAIL, "Python 3.10.4 is too old", "Python 3.11"),
        ({"versions": {"ray": "2.9.3"}}, FAIL, "ray 2.9.3 is too old; anabranch needs 2.30", "anabranch[ray]"),
        ({"versions": {"dask": "2024.5.1"}}, FAIL, "dask 2024.5.1", "anabranch[dask]"),
        ({"versions": {"dask": "2026.8.0", "distributed": "2026.7.1"}}, WARN, "different releases", "anabranch[dask]"),
        ({"versions": {"ray": "3.0.0+cpu"}}, "", "", ""),
        ({"missing": {"ray": ["ray"]}}, NOTE, "not installed: ray", "anabranch[NAME]"),
        ({"home": Place("/x", trouble="Read-only")}, FAIL, "Cannot write to /x: Read-only", "ANABRANCH_HOME"),
        ({"home": Place("/x", foreign=True)}, WARN, "belongs to another user", "ANABRANCH_HOME"),
        ({"record_trouble": "it is newer"}, FAIL, "Cannot open the record: it is newer", "config set records"),
        ({"home": NFS}, WARN, "one SQLite file for all programs can be damaged", "records_shared auto"),
        ({"home": replace(NFS, locks=False), "record_kind": "folder"}, FAIL, "cannot be locked", "records_shared node"),
        ({"home": NFS, "record_kind": "folder"}, NOTE, "network file system (nfs4): here", ""),
        ({"home": replace(NFS, locks=False), "record_kind": "node"}, NOTE, "network file system", ""),
        ({"results": Place("/r", trouble="denied")}, FAIL, "Cannot write to /r: denied", "config set results"),
        ({"temporary": Place("/tmp", trouble="denied")}, FAIL, "Cannot write to /tmp", "TMPDIR"),
        ({"home": Place("/x", free=1000)}, FAIL, "Only 0.000954 MiB are free at /x. Rows then wait", "Free some space"),
        ({"results": Place("/r", free=500 * MIB)}, WARN, "500 MiB are free at /r. Values then cannot", "Free"),
        ({"temporary": Place("/tmp", free=500 * MIB)}, WARN, "do not fit into memory", "Free"),
        ({"left_on_node": ("/tmp/x",)}, WARN, "left 1 record(s) on this node: /tmp/x", "docs/records.md"),
        ({"runs": 1200, "open_runs": 3}, NOTE, "1,200 flow runs, 3 of them not ended", ""),
        ({"shared_memory": 64 * MIB}, WARN, "/dev/shm has 64 MiB", "--shm-size"),
        ({"shared_memory": None}, WARN, "no /dev/shm", "threads"),
        ({"open_files": 256}, WARN, "may open 256 files", "ulimit -n"),
        ({"open_files": 32}, FAIL, "may open 32 files", "ulimit -n"),
        ({"processes": 60}, WARN, "60 processes and threads; 4 workers may need 96", "ulimit -u"),
        ({"group_memory": 512 * MIB}, WARN, "may use 512 MiB of memory", "threads"),
        ({"memory_budget": 20 * GIB}, WARN, "memory_budget is 20 GiB, and this process may use 16 GiB", "unset"),
        ({"cpus": 2, "machine_cpus": 64}, NOTE, "2 of 64 processors", ""),
        ({"monotonic": False}, FAIL, "monotonic clock", "clock source"),
        ({"skew": -75.2}, WARN, "differs by -75 s", "NTP"),
        ({"skew": 2.0}, "", "", ""),
        ({"login": "this machine ends a program after 10 min"}, WARN, "This machine ends a program", "batch job"),
        ({"threads": {"OMP_NUM_THREADS": "64"}}, WARN, "OMP_NUM_THREADS=64", "unset OMP_NUM_THREADS"),
        ({"threads": {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "auto"}}, "", "", ""),
    ],
)
def test_each_thing_that_will_hurt_has_a_sentence_and_a_remedy(
    changed: dict[str, Any], level: str, said: str, remedy: str
) -> None:
    told = findings(replace(GOOD, **changed))
    if not level:
        assert told == []
        return
    [one] = told
    assert (one.level, said in one.sentence, remedy in one.remedy) == (level, True, True), one
    assert one.sentence.endswith(".")


def test_the_worst_comes_first() -> None:
    told = findings(replace(GOOD, cpus=2, machine_cpus=64, skew=90.0, monotonic=False))
    assert [one.level for one in told] == [FAIL, NOTE]
    told = findings(replace(GOOD, cpus=2, machine_cpus=64, skew=90.0, record_trouble="x"))
    assert [one.level for one in told] == [FAIL, WARN, NOTE]
