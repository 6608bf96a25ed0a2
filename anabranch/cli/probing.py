"""Looks at this machine for `anabranch doctor`. Nothing stays behind: a folder that is not there is not made."""

from __future__ import annotations

import importlib.metadata
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch import settings
from anabranch.core import login_nodes, machine, network_files, processes
from anabranch.core.errors import AnabranchError
from anabranch.diagnosis.health import Found, Place
from anabranch.records import kind_of, open_records, place_said, recorded

if TYPE_CHECKING:
    from anabranch.settings import Settings

PACKAGES = (
    "anabranch", "cloudpickle", "msgpack", "pydantic", "click", "dask", "distributed", "ray", "numpy", "textual",
)  # fmt: skip
THREADS = re.compile(r"(OMP|OPENBLAS|MKL|BLIS|NUMBA|NUMEXPR)_NUM_THREADS|VECLIB_MAXIMUM_THREADS")
TICKS = 200  # readings of the clock


def look() -> Found:
    """Look at this machine, with the program's settings."""
    chosen = settings.load()
    address = "://" in chosen.records
    runs, open_runs, trouble = _record(chosen)
    near = chosen.records_path.parent if not address else chosen.home
    soft = {name: _soft(name) for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC")}
    limits = [int(text) for text in machine.group_limits("memory.max") if text.isdigit()]
    return Found(
        python=sys.version_info[:3],
        versions={name: _version(name) for name in PACKAGES},
        missing=_missing(),
        home=place(near),
        results=None if "://" in chosen.results else place(chosen.results_path),
        temporary=place(Path(tempfile.gettempdir())),
        record=place_said(chosen.records_place, shared=chosen.records_shared),
        record_kind="address" if address else kind_of(chosen.records_path, chosen.records_shared),
        record_trouble=trouble,
        runs=runs,
        open_runs=open_runs,
        left_on_node=left_on_node(Path(tempfile.gettempdir())),
        shared_memory=shutil.disk_usage("/dev/shm").total if os.path.isdir("/dev/shm") else None,
        open_files=soft["RLIMIT_NOFILE"],
        processes=soft["RLIMIT_NPROC"],
        group_memory=min((one for one in limits if one < 1 << 60), default=0),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        cpus=machine.usable_cpus(),
        machine_cpus=os.cpu_count() or 1,
        monotonic=_monotonic(),
        skew=skew(near) if network_files.shared(near) else None,
        login=login_nodes.warning_of(login_nodes.signs_here(), "flows may run for long", "start them in a batch job"),
        threads={name: value for name, value in os.environ.items() if THREADS.fullmatch(name)},
        memory_budget=chosen.memory_budget,
    )


def place(folder: Path) -> Place:
    """Look at a folder, or at where it would be made."""
    near = folder
    while not near.is_dir() and near != near.parent:
        near = near.parent
    trouble, free, foreign = "", None, False
    try:
        free = shutil.disk_usage(near).free
        foreign = near == folder and near.stat().st_uid != os.getuid()
        with tempfile.TemporaryFile(dir=near):
            pass
    except OSError as error:
        trouble = error.strerror or str(error)
    shared = network_files.shared(folder)
    return Place(str(folder), network_files.kind(folder), shared, not shared or network_files.locks(folder), trouble,
                 free, foreign)  # fmt: skip


def left_on_node(folder: Path) -> tuple[str, ...]:
    """Return the records in a folder of this node with no living driver; their names have the drivers' pids."""
    found = []
    for path in sorted(folder.glob("anabranch-record-*")):
        pid = re.search(r"-(\d+)-[^-]+$", path.name)
        if pid is not None and not processes.process_alive(int(pid[1])):
            found.append(str(path))
    return tuple(found)


def skew(folder: Path) -> float | None:
    """Return the seconds that the folder's file server is ahead of this machine; None where nothing can be written."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            before = time.time()
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
            after = time.time()
            written = os.stat(file.name).st_mtime
    except OSError:
        return None
    return 0.0 if before - 1 <= written <= after + 1 else written - (before + after) / 2


def _record(chosen: Settings) -> tuple[int | None, int, str]:
    """Return how many runs there are and are open, and why the record cannot be opened."""
    where, shared = chosen.records_place, chosen.records_shared
    try:
        if not recorded(where, shared=shared):
            return None, 0, ""
        records = open_records(where, shared=shared, home=chosen.home, api_key=chosen.api_key)
        try:
            kinds = ("SCHEDULED", "PENDING", "RUNNING")
            return records.count_flow_runs(), sum(records.count_flow_runs(state=kind) for kind in kinds), ""
        finally:
            records.close()
    except (AnabranchError, OSError) as error:
        return None, 0, " ".join(str(error).split()).rstrip(".")


def _missing() -> dict[str, list[str]]:
    """Return by extra the packages of it that are not installed."""
    try:
        needed = importlib.metadata.requires("anabranch") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for line in needed:
        extra = re.search(r"extra\s*==\s*[\"']([\w-]+)[\"']", line)
        name = re.match(r"[\w.-]+", line)
        if not extra or not name or extra[1] in ("dev", "docs", "all") or name[0] == "anabranch":
            continue
        if not _version(name[0]):
            found.setdefault(extra[1], []).append(name[0])
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _soft(name: str) -> int:
    soft, _ = resource.getrlimit(getattr(resource, name))
    return 0 if soft == resource.RLIM_INFINITY else soft


def _monotonic() -> bool:
    seen = [time.monotonic() for _ in range(TICKS)]
    return seen == sorted(seen)
