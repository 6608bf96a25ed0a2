"""`prefect.runtime.deployment`: anabranch has no deployments, so all of it is None or empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.runtime.reading import read

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS: dict[str, Callable[[], Any]] = {
    "flow_run_id": lambda: None, "id": lambda: None, "name": lambda: None, "parameters": dict, "version": lambda: None,
}  # fmt: skip


def __getattr__(name: str) -> Any:
    return read("deployment", name, FIELDS)


def __dir__() -> list[str]:
    return sorted(FIELDS)
