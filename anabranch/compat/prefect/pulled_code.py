"""Flows of storage that a program has written itself: an object with `set_base_path`, `pull_code` and `destination`."""

from __future__ import annotations

import importlib
import inspect
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from anabranch.compat.prefect.entrypoints import load_flow_from_entrypoint


def flow_of(storage: Any, entrypoint: str) -> Any:
    """Let the storage pull its code into a folder, which lasts until the flow is loaded, and return the flow.

    Such a flow runs, and has no deployment: another program does not know the storage.
    """
    with tempfile.TemporaryDirectory() as folder:
        storage.set_base_path(Path(folder))
        with ThreadPoolExecutor(1) as beside:  # this thread may have an event loop that runs
            beside.submit(_pulled, storage).result()
        found = str(Path(storage.destination))
        sys.path.insert(0, found)
        try:
            flow = load_flow_from_entrypoint(str(Path(found, _file(entrypoint))))
        finally:
            sys.path.remove(found)
    flow._entrypoint = entrypoint
    return flow


def _pulled(storage: Any) -> None:
    pulling = storage.pull_code()
    if inspect.isawaitable(pulling):
        importlib.import_module("asyncio").run(_awaited(pulling))


async def _awaited(pulling: Any) -> None:
    await pulling


def _file(entrypoint: str) -> str:
    """Return FILE:FLOW, also for MODULE.FLOW."""
    if ":" in entrypoint:
        return entrypoint
    *modules, name = entrypoint.split(".")
    return "/".join(modules) + f".py:{name}"
