"""`prefect_ray.task_runners`: RayTaskRunner, by anabranch's runner for Ray."""

from __future__ import annotations

import importlib
from typing import Any

from anabranch.compat.prefect.task_runners import TaskRunner

__all__ = ["RayTaskRunner"]


class RayTaskRunner(TaskRunner):
    """Tasks run on Ray: one that runs at this address, or a new one on this machine.

    Args:
        init_kwargs: of `ray.init`. With any but `num_cpus` Ray is begun by them with the first run, where this program
            has none yet, and stays until the program's end.
    """

    runs_on = "ray"

    def __init__(self, address: str | None = None, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.address, self.init_kwargs = address, dict(init_kwargs or {})

    def options(self) -> dict[str, Any]:
        if self.init_kwargs.keys() <= {"num_cpus"}:
            return {"address": self.address, "num_cpus": self.init_kwargs.get("num_cpus")}
        return {"cluster": BegunRay(self.address, self.init_kwargs)}


class BegunRay:
    """A Ray that is begun, with arguments for `ray.init`, when its address is read first."""

    def __init__(self, address: str | None, given: dict[str, Any]) -> None:
        self._address, self._given = address, given

    @property
    def address(self) -> str:
        """The address; of a Ray that this program uses already, that one's."""
        ray: Any = importlib.import_module("ray")
        if not ray.is_initialized():
            ray.init(address=self._address, **self._given)
        return str(ray.get_runtime_context().gcs_address)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BegunRay) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self._address)

    def __repr__(self) -> str:
        return f"Ray({self._address!r}, init_kwargs={self._given!r})"
