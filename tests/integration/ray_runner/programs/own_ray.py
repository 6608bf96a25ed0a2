"""A Ray of the runner's own, on one node: what it offers is all there will ever be. Prints what it saw, as JSON."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from anabranch import RayRunner, flow, task
from anabranch.core.errors import ResourceError

SAW: dict[str, Any] = {}


@task
def usage_stats() -> bool:
    from ray._common.usage.usage_lib import usage_stats_enabled

    return bool(usage_stats_enabled())


@task
def authentication() -> tuple[str, bool]:
    return os.environ.get("RAY_AUTH_MODE", ""), "RAY_AUTH_TOKEN" in os.environ


@task(resources={"licence": 1})
def licensed() -> int:
    return 1


@task(gpus=1)
def on_gpu() -> int:
    return 1


@task(memory="1 GiB")
def reserving() -> list[float]:
    import ray

    return [float(ray.get_runtime_context().get_assigned_resources().get(name, 0.0)) for name in ("memory", "CPU")]


runner = RayRunner(num_cpus=1)


@flow(runner=runner)
def main() -> None:
    began = time.monotonic()
    for name, one in (("licence", licensed), ("gpus", on_gpu)):
        try:
            one.submit()
        except ResourceError as error:
            SAW[name] = str(error)
    SAW["refused after"] = time.monotonic() - began
    SAW["usage stats"] = usage_stats.submit().result()
    SAW["authentication"] = authentication.submit().result()
    SAW["memory"] = reserving.submit().result()
    SAW["after it"] = [reserving.submit().result() for _ in range(2)]


if __name__ == "__main__":
    import ray

    main()
    SAW["left open"] = ray.is_initialized()  # a runner that a flow was given stays up with its session
    from anabranch import session

    session.current().close()
    SAW["closed"] = not ray.is_initialized()
    print(json.dumps(SAW))
